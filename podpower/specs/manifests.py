"""Manifests, as people write or export them, into requests; what is not taken is told."""

import msgspec

from podpower.errors import InvalidInput
from podpower.specs.documents import Rejected, read_objects
from podpower.specs.normalising import NotAWorkload, request_from_object
from podpower.specs.requests import InferenceRequest

__all__ = ["Rejected", "read_manifests", "read_objects"]


def read_manifests(
    data: bytes, *, source: str, cluster: str | None = None
) -> tuple[list[InferenceRequest], list[Rejected]]:
    """The requests of all workloads in YAML or JSON, in order, and what was not taken. `source` names the input."""
    requests: list[InferenceRequest] = []
    rejected: list[Rejected] = []
    for index, obj in enumerate(read_objects(data, source=source)):
        if isinstance(obj, Rejected):
            rejected.append(msgspec.structs.replace(obj, index=index))
            continue
        try:
            requests.append(request_from_object(obj, cluster=cluster))
        except NotAWorkload as error:
            rejected.append(Rejected(source=source, index=index, detail=str(error), reason="not_a_workload"))
        except InvalidInput as error:
            rejected.append(Rejected(source=source, index=index, detail=f"{_name(obj)}{error}"))
    return requests, rejected


def _name(obj: dict[str, object]) -> str:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{obj.get('kind')} {name}: " if isinstance(name, str) and isinstance(obj.get("kind"), str) else ""
