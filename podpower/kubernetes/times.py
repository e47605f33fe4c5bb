"""Time of an object's last change, by its own metadata and status."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from podpower.kubernetes.types import EventType

_LAG_S = 300.0  # a watched change is at most so late; older times are of something else


def happened_s(obj: Mapping[str, Any], type_: EventType, *, now_s: float, listed: bool) -> float:
    """Return the Unix seconds at which a change happened, from the object; `now_s` where it has no such time, or an
    impossible one.

    `listed`: a list showed the object, which can have had its form for long.
    """
    own_s = _deleted_s(obj) if type_ == "DELETED" else ended_s(obj) or present_form_s(obj)
    if own_s is None or own_s > now_s:
        return now_s
    return own_s if listed or own_s > now_s - _LAG_S else now_s


def present_form_s(obj: Mapping[str, Any]) -> float | None:
    """Return since when the spec is as it is: for a pod its creation, for others the last write (`managedFields`
    without `status`; server-side apply, Kubernetes 1.18 and later).
    """
    metadata = _mapping(obj.get("metadata"))
    made_s = parse_time(metadata.get("creationTimestamp"))
    if obj.get("kind") == "Pod":
        return made_s
    managers = metadata.get("managedFields")
    written = [
        parse_time(manager.get("time"))
        for manager in (managers if isinstance(managers, list) else ())
        if isinstance(manager, Mapping) and not manager.get("subresource") and manager.get("operation") != "Delete"
    ]
    return max((s for s in written if s is not None), default=made_s)


def parse_time(text: Any) -> float | None:
    """Return the Unix seconds of an RFC 3339 time of the API; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def ended_s(pod: Mapping[str, Any]) -> float | None:
    """Return when the last container of a finished pod ended."""
    status = _mapping(pod.get("status"))
    if pod.get("kind") != "Pod" or status.get("phase") not in {"Succeeded", "Failed"}:
        return None
    return max(_finished(status), default=None)


def _deleted_s(obj: Mapping[str, Any]) -> float | None:
    """Return when the containers of a deleted pod ended. Its deletionTimestamp is only the deadline."""
    return max(_finished(_mapping(obj.get("status"))), default=None) if obj.get("kind") == "Pod" else None


def _finished(status: Mapping[str, Any]) -> Iterator[float]:
    states = status.get("containerStatuses")
    for container in states if isinstance(states, list) else ():
        ended = _mapping(_mapping(_mapping(container).get("state")).get("terminated"))
        finished_s = parse_time(ended.get("finishedAt"))
        if finished_s is not None:
            yield finished_s


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
