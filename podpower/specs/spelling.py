"""Nearest right word for a misspelt kind or field, among those that podpower reads.

A valid field that podpower does not read must never be called misspelt. `_VALID_NEIGHBOURS` lists the valid fields that
look like one that is read; a test compares it with the schemas of every Kubernetes version.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from podpower.kubernetes.kinds import KINDS
from podpower.kubernetes.types import ResourceRequirements
from podpower.specs.kind_names import BUILT_IN_KINDS, GROUP_KINDS, SHORT_NAMES
from podpower.specs.quoting import quoted

_CUTOFF: Final = 0.8
_MAX_WORD: Final = 48  # characters; a longer word is no slip of the keyboard
_MAX_REPORTED: Final = 5
_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage", "storage", "pods")
_COUNTS: Final = frozenset(kind.count for kind in KINDS.values() if kind.count)
_PODS_OF: Final = {"DaemonSet": "it runs a pod on each node it fits", "Pod": "it is one pod"}
_VALID_NEIGHBOURS: Final = {
    "Affinity": {"podAffinity"},
    "KubeContainer": {"restartPolicyRules"},
    "NodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution"},
    "WorkloadSpec": {"completionMode"},
    "_ScaledObjectSpec": {"idleReplicaCount"},
}


def kind_hint(kind: str, group: str | None) -> str | None:
    """Return the correction of a misspelt kind or API group, or None.

    `group` is that of apiVersion, "" for the core, None where the object has none. Groups of custom resources contain a
    dot, so a group without one that Kubernetes does not have is misspelt.
    """
    if kind in BUILT_IN_KINDS and (group is None or group in GROUP_KINDS):
        return None
    if group is not None and "." not in group and group not in GROUP_KINDS:
        near = _nearest(group, tuple(GROUP_KINDS))
        return f"apiVersion: no API group {quoted(group)}" + (f"; did you mean {near}?" if near else "")
    if group is not None and group not in GROUP_KINDS:
        return None
    near = SHORT_NAMES.get(kind.lower()) or _nearest(kind, GROUP_KINDS[group] if group else ())
    near = near or _nearest(kind, tuple(sorted(BUILT_IN_KINDS)))
    return f"kind: no kind {quoted(kind)}; did you mean {near}?" if near else None


def count_hint(kind: str, spec: Any) -> str | None:
    """Return a message for a number of pods under a name that this kind does not have, which the API server refuses; or
    None.
    """
    wanted = KINDS[kind].count
    for name in sorted(_COUNTS - {wanted}):
        if isinstance(spec, Mapping) and name in spec:
            instead = f"did you mean {wanted}?" if wanted else _PODS_OF.get(kind, "")
            return f"spec.{name}: no such field of a {kind}; {instead}"
    return None


def field_hints(value: Any, shape: type, *, where: str = "") -> list[str]:
    """Return a message for each misspelt field of an object that is read as `shape`, at most five."""
    hints = []
    for path, key, near in _misspelt(value, shape, where):
        hints.append(f"{path}{quoted(key)}: no such field; did you mean {near}?")
        if len(hints) == _MAX_REPORTED:
            break
    return hints


def _misspelt(value: Any, shape: type, where: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(value, Mapping):
        return
    inner = _inner(shape)
    for key, item in value.items():
        path = f"{where}{key}"
        if key not in inner:
            near = _near_field(key, shape)
            if near is not None:
                yield where, key, near
        elif shape is ResourceRequirements and isinstance(item, Mapping):
            yield from ((f"{path}.", name, near) for name in item if (near := _near_resource(name)))
        elif inner[key] is None:
            continue
        elif isinstance(item, list):
            for index, element in enumerate(item):
                yield from _misspelt(element, inner[key], f"{path}[{index}].")
        else:
            yield from _misspelt(item, inner[key], f"{path}.")


@cache
def _inner(shape: type) -> dict[str, Any]:
    """Return the names of a struct's fields as written in manifests, each with the struct inside it."""
    info = msgspec.inspect.type_info(shape)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError(f"{shape} is no struct")
    return {field.encode_name: _struct_of(field.type) for field in info.fields}


def _struct_of(info: Any) -> type | None:
    if isinstance(info, msgspec.inspect.StructType):
        return info.cls
    if isinstance(info, msgspec.inspect.UnionType):
        return next((found for part in info.types if (found := _struct_of(part))), None)
    if isinstance(info, msgspec.inspect.ListType):
        return _struct_of(info.item_type)
    return _struct_of(info.type) if isinstance(info, msgspec.inspect.Metadata) else None


@lru_cache(maxsize=1 << 12)
def _near_field(key: str, shape: type) -> str | None:
    if key in _VALID_NEIGHBOURS.get(shape.__name__, set()):
        return None
    return _nearest(key, tuple(_inner(shape)))


@lru_cache(maxsize=1 << 10)
def _near_resource(name: str) -> str | None:
    """Return the nearest resource of Kubernetes for a misspelt name. Its own have no domain; extended ones contain a
    slash.
    """
    if name in _RESOURCES or "/" in name or name.startswith("hugepages-"):
        return None
    return _nearest(name, _RESOURCES)


def _nearest(word: str, words: tuple[str, ...]) -> str | None:
    """Return the word nearest to `word`; None when none is close."""
    if not word or len(word) > _MAX_WORD:
        return None
    plain = {_plain(right): right for right in words}
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=_CUTOFF)
    if close:
        return plain[close[0]]
    letters = sorted(_plain(word))  # two letters swapped in a short word
    return next((right for text, right in plain.items() if len(text) > 2 and sorted(text) == letters), None)


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
