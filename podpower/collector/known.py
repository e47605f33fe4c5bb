"""New items of a stream for a reader: the one rule against lost and repeated events.

A stream repeats items when it resumes before what the reader has, or lists again. An event of a watch is new when its
resourceVersion is later than the last one of the object, deletions included. An object of a list is new when it
differs from the last one. An object that a complete list lacks has been deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from podpower.kubernetes.types import EventType
from podpower.sources.kubernetes.list_watch import Event, Found, Item, Listed, Stream, is_earlier


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change that the reader does not have yet.

    `listed`: a list showed it, so that it can have happened at any time before. The object of a DELETED that a list
    showed has only its uid, and the resourceVersion at which it was missing.
    """

    stream: Stream
    type: EventType
    object: dict[str, Any]
    listed: bool = False

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.object["metadata"]["uid"])

    @property
    def resource_version(self) -> str:
        """The object's resourceVersion, "" where the server gives none."""
        return str(self.object["metadata"].get("resourceVersion") or "")


@dataclass(kw_only=True)
class Known:
    """Versions that a reader has of one stream: everything up to `reached`, and the last resourceVersion by uid of
    objects that are `alive`, and of those that have `gone` since.
    """

    alive: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    reached: str | None = None

    def changes(self, item: Item) -> Iterator[Change]:
        """Yield what is new in an item; from then on it is known."""
        if isinstance(item, Event):
            change = Change(stream=item.stream, type=item.type, object=item.object)
            last = self.alive.get(change.uid) or self.gone.get(change.uid)
            if not any(covers(version, change.resource_version) for version in (self.reached, last)):
                yield from self._taken(change)
        elif isinstance(item, Found):
            change = Change(stream=item.stream, type="ADDED", object=item.object, listed=True)
            if not change.resource_version or change.resource_version != self.alive.get(change.uid):
                yield from self._taken(change)
        elif isinstance(item, Listed):
            for uid in [uid for uid in self.alive if uid not in item.uids]:
                metadata = {"uid": uid, "resourceVersion": item.version}
                gone = Change(stream=item.stream, type="DELETED", object={"metadata": metadata}, listed=True)
                yield from self._taken(gone)
            self.gone.clear()
            self.reached = item.version  # also where a restored server is behind

    def _taken(self, change: Change) -> Iterator[Change]:
        """Yield the change with the type that it has for this reader."""
        was_alive = change.uid in self.alive
        if change.type == "DELETED":
            if self.alive.pop(change.uid, None) is None:
                return
        else:
            self.alive[change.uid] = change.resource_version
        type_: EventType = "DELETED" if change.type == "DELETED" else "MODIFIED" if was_alive else "ADDED"
        yield Change(stream=change.stream, type=type_, object=change.object, listed=change.listed)


def covers(version: str | None, event: str) -> bool:
    """Return whether a reader that has everything up to `version` has the event of this resourceVersion."""
    return event != "" and version is not None and (event == version or is_earlier(event, version))
