"""Objects that have ended, by their status."""

from collections.abc import Mapping
from typing import Any, Final

from podpower.kubernetes.kinds import KINDS

_ENDED_PHASES: Final = frozenset({"Succeeded", "Failed"})
_ENDLESS: Final = frozenset(name for name, kind in KINDS.items() if not kind.ends)
_END_CONDITIONS: Final = frozenset({"Complete", "Failed"})


def end_of(obj: Mapping[str, Any]) -> str | None:
    """Return how an object ended ("Succeeded", "Complete"); None while it can still run.

    Only a Job's conditions are read: elsewhere a failed condition is no end.
    """
    kind, status = str(obj.get("kind")), obj.get("status")  # a kind can be anything, also a list
    if kind in _ENDLESS or not isinstance(status, Mapping):
        return None
    if kind == "Pod":
        phase = status.get("phase")
        return phase if isinstance(phase, str) and phase in _ENDED_PHASES else None
    if kind == "Job":
        conditions = status.get("conditions")
        for condition in conditions if isinstance(conditions, list) else ():
            if not isinstance(condition, Mapping) or str(condition.get("status")) != "True":
                continue
            if str(condition.get("type")) in _END_CONDITIONS:
                return str(condition["type"])
    return "Complete" if isinstance(status.get("completionTime"), str) and status["completionTime"] else None
