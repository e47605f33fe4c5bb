"""The objects of a review into requests for predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.times import parse_time
from podpower.specs import json_values
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options, select
from podpower_serving.admission.reviews import Review

_PREDICTED: Final = frozenset({"CREATE", "UPDATE"})


class Outcome(StrEnum):
    """Outcome of a review; the label of the metric."""

    ANNOTATED = "annotated"
    UNCHANGED = "unchanged"  # its annotations are right already
    PASSED = "passed"  # DELETE, CONNECT, and requests to subresources
    CONTROLLED = "controlled"  # its controller has the annotations
    NO_PODS = "no_pods"
    UNKNOWN_KIND = "unknown_kind"
    FINISHED = "finished"
    INVALID = "invalid"  # an object that cannot be predicted
    NO_MODEL = "no_model"
    LATE = "late"  # the prediction took too long
    UNREADABLE = "unreadable"
    WRONG_VERSION = "wrong_version"
    TOO_LARGE = "too_large"
    FAILED = "failed"  # by a bug of podpower
    NO_ROOM = "no_room"  # for annotations beside those of the object
    DENIED = "denied"


class Nothing(Exception):
    """There is nothing to predict; `outcome` is the reason."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """An object of a review: its names, its annotations (None: none at all), and the requests of its pod templates.

    `key` is the name, of an object whose name the API server has yet to make the uid of its review.
    """

    namespace: str
    kind: str
    key: str
    annotations: Mapping[str, str] | None
    created_s: float | None
    requests: Sequence[InferenceRequest]


def is_predicted(operation: str, sub_resource: str | None) -> bool:
    """Return True for requests that create or replace an object."""
    return operation in _PREDICTED and not sub_resource


def read(raw: msgspec.Raw, *, review: Review, cluster: str | None) -> Reviewed:
    """Return the object in `raw`, which is of a review. Nothing when there is no prediction for it.

    The API server has checked its fields already, so unknown ones are no mistakes.
    """
    content = bytes(raw) or b"null"
    try:
        json_values.check_density(content)
        obj = json_values.value_of(content)
    except InvalidInput:
        raise Nothing(Outcome.INVALID) from None
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(metadata, dict):
        raise Nothing(Outcome.INVALID)
    annotations = metadata.get("annotations")
    if not _is_texts(annotations):
        raise Nothing(Outcome.INVALID)
    if _is_controlled(metadata):
        raise Nothing(Outcome.CONTROLLED)
    if review.namespace:
        obj["metadata"] = {**metadata, "namespace": review.namespace}
    requests = _requests(obj, cluster=cluster)
    return Reviewed(
        namespace=requests[0].namespace,
        kind=requests[0].workload_kind,
        key=metadata.get("name") or review.uid,
        annotations=annotations,
        created_s=parse_time(metadata.get("creationTimestamp")),
        requests=requests,
    )


def _requests(obj: dict[str, Any], *, cluster: str | None) -> list[InferenceRequest]:
    try:
        found = select([("object", 0, obj)], Options(cluster=cluster, lenient=True, running=False))
    except (InvalidInput, RecursionError):
        raise Nothing(Outcome.INVALID) from None
    if found.errors:
        raise Nothing(Outcome.INVALID)
    if not found.requests:
        unknown = found.skipped and found.skipped[0].code == "unknown_kind"
        raise Nothing(Outcome.UNKNOWN_KIND if unknown else Outcome.NO_PODS)
    if any(request.state == "finished" for request in found.requests):
        raise Nothing(Outcome.FINISHED)
    return found.requests


def _is_controlled(metadata: Mapping[str, Any]) -> bool:
    references = metadata.get("ownerReferences")
    return isinstance(references, list) and any(
        isinstance(reference, Mapping) and reference.get("controller") is True for reference in references
    )


def _is_texts(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))
