"""Manifests, written by people or exported, into requests."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from podpower.errors import InvalidInput
from podpower.specs.documents import Objects, Rejected
from podpower.specs.given import Object
from podpower.specs.selection import Options, Workloads, select

_RENDER: Final = "it holds {{ }}: render the template first, e.g. with `helm template CHART`, and give the output"


def read_manifests(data: bytes, *, source: str, options: Options | None = None) -> Workloads:
    """Return the workloads in YAML or JSON. `source` names the input. InvalidInput when it has too many objects."""
    return read_all_manifests([(data, source)], options=options)


def read_all_manifests(parts: Iterable[tuple[bytes, str]], *, options: Options | None = None) -> Workloads:
    """Return the workloads in several files as one input: an owner in one file counts for objects of another."""
    options = options or Options()
    return select(_objects(parts, max_objects=options.max_objects), options)


def _objects(
    parts: Iterable[tuple[bytes, str]], *, max_objects: int | None
) -> Iterator[tuple[str, int, Object | Rejected]]:
    count = 0
    for data, source in parts:
        is_template = b"{{" in data and _is_text(data)
        objects = Objects(data, source=source)
        for index, obj in enumerate(objects):
            count += 1
            if max_objects is not None and count > max_objects:
                raise InvalidInput(f"more than {max_objects} objects: send at most {max_objects} at a time")
            if not isinstance(obj, Rejected) and not _has_head(obj):
                objects.reject()  # it will be an error; the reader stops after too many
            if isinstance(obj, Rejected) and is_template:
                yield source, index, msgspec.structs.replace(obj, detail=f"{obj.detail}; {_RENDER}")
            else:
                yield source, index, obj


def _is_text(data: bytes) -> bool:
    """Return False for binary files such as Parquet, which can contain any bytes."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_head(obj: Object) -> bool:
    return isinstance(obj.get("kind"), str) and isinstance(obj.get("metadata"), dict)
