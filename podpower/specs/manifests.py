"""Manifests, as people write or export them, into requests; what is not taken is told."""

import msgspec

from podpower.errors import InvalidInput
from podpower.specs.documents import Objects, Rejected, read_objects, shortened
from podpower.specs.normalising import NotAWorkload, request_from_object
from podpower.specs.requests import InferenceRequest

__all__ = ["Rejected", "read_manifests", "read_objects"]


def read_manifests(
    data: bytes, *, source: str, cluster: str | None = None, max_objects: int | None = None
) -> tuple[list[InferenceRequest], list[Rejected]]:
    """Requests of all workloads in YAML or JSON, in order, and what was rejected. `source` names the input.

    InvalidInput when there are more than `max_objects`.
    """
    requests: list[InferenceRequest] = []
    rejected: list[Rejected] = []
    objects = Objects(data, source=source)
    for index, obj in enumerate(objects):
        if max_objects is not None and index >= max_objects:
            raise InvalidInput(f"more than {max_objects} objects: send at most {max_objects} at a time")
        if isinstance(obj, Rejected):
            rejected.append(msgspec.structs.replace(obj, index=index))
            continue
        try:
            requests.append(request_from_object(obj, cluster=cluster))
        except NotAWorkload as error:
            detail = shortened(str(error))
            rejected.append(Rejected(source=source, index=index, detail=detail, reason="not_a_workload"))
        except InvalidInput as error:
            objects.reject()
            rejected.append(Rejected(source=source, index=index, detail=shortened(f"{_name(obj)}{error}")))
    return requests, rejected


def _name(obj: dict[str, object]) -> str:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{obj.get('kind')} {name}: " if isinstance(name, str) and isinstance(obj.get("kind"), str) else ""
