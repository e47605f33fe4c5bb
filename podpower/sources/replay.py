"""Recorded events: one line of a recording or a journal, and the events of a window from the lines of its hours."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from podpower.kubernetes.types import EventType
from podpower.sources.protocols import ObjectEvent

MAX_CHANGES = 50_000  # events of one call of `changes`; the cursor continues from there


class EventLine(msgspec.Struct, kw_only=True):
    """One change of one object, at `ts` (Unix seconds)."""

    ts: float
    type: EventType
    object: dict[str, Any]

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.object["metadata"]["uid"])

    def event(self, *, at_least_s: float = 0.0) -> ObjectEvent:
        """Return the line as an event, not before `at_least_s`."""
        return ObjectEvent(ts=max(self.ts, at_least_s), type=self.type, object=self.object)


Alive = dict[str, EventLine]  # by uid


def apply(alive: Alive, lines: Iterable[EventLine]) -> None:
    """Bring the objects that are alive to the state after `lines`."""
    for line in lines:
        if line.type == "DELETED":
            alive.pop(line.uid, None)
        else:
            alive[line.uid] = line


def replayed(
    alive: Alive, hours: Iterable[str], lines: Callable[[str], Iterable[EventLine]], *, start_s: float, end_s: float
) -> Iterator[ObjectEvent]:
    """Yield the objects alive at `start_s` as ADDED with the time of their present form, then each change before
    `end_s`. `alive` are those at the beginning of the first hour.
    """
    begun = False
    for hour in hours:
        later = []
        for line in lines(hour):
            if line.ts >= start_s:
                later.append(line)
            else:
                apply(alive, [line])
        if not begun:
            yield from _present(alive)
            begun = True
        yield from (line.event() for line in later if line.ts < end_s)
    if not begun:  # the window ends before the recording: the objects that it found, each from the time of its form
        yield from _present(alive)


def _present(alive: Alive) -> Iterator[ObjectEvent]:
    return (ObjectEvent(ts=line.ts, type="ADDED", object=line.object) for line in alive.values())
