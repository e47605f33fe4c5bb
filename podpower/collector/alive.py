"""Objects of a journal that are alive, as its writer keeps them in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podpower.collector.known import Known
from podpower.kubernetes.kinds import ownership_rank
from podpower.sources.journal.format import event_line
from podpower.sources.kubernetes.list_watch import Stream
from podpower.sources.replay import EventLine

_Place = tuple[str, str, str]  # apiVersion, kind and namespace of an object


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: the time of its last change, its resourceVersion, its place, and the rest of it as JSON."""

    ts: float
    version: str
    place: _Place
    content: bytes

    def object(self) -> dict[str, Any]:
        """Return the object."""
        obj: dict[str, Any] = msgspec.json.decode(self.content)
        obj["metadata"]["resourceVersion"] = self.version
        return obj


@dataclass
class Objects:
    """Objects that are alive, and those `gone` whose deletion the server can send again, by uid."""

    alive: dict[str, Entry] = field(default_factory=dict)
    gone: dict[str, Entry] = field(default_factory=dict)

    def apply(self, lines: Iterable[EventLine]) -> None:
        """Bring the objects to the state after `lines`."""
        for line in lines:
            self.put(line.ts, line.type, line.object, content_of(line.object))
            if line.type == "DELETED":
                version = str(line.object["metadata"].get("resourceVersion", ""))
                self.gone[line.uid] = Entry(line.ts, version, _place(line.object), b"")

    def put(self, ts: float, type_: str, obj: dict[str, Any], content: bytes) -> None:
        """Take one change."""
        entry = Entry(ts, str(obj["metadata"].get("resourceVersion", "")), _place(obj), content)
        uid = str(obj["metadata"].get("uid", ""))
        if type_ == "DELETED":
            self.alive.pop(uid, None)
        else:
            self.alive[uid] = entry

    def known(self, stream: Stream, *, reached: str | None) -> Known:
        """Return the versions of a stream's objects."""
        alive = {uid: entry.version for uid, entry in self.alive.items() if _is_in(entry.place, stream)}
        gone = {uid: entry.version for uid, entry in self.gone.items() if _is_in(entry.place, stream)}
        return Known(alive=alive, gone=gone, reached=reached)


def snapshot_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the lines of a snapshot, owners first."""
    for entry in sorted(entries, key=lambda entry: ownership_rank(entry.place[1])):
        yield event_line(entry.ts, "ADDED", entry.object())


def content_of(obj: Any) -> bytes:
    """Return an object without its resourceVersion as JSON: two contents that are equal differ in nothing that is
    read.
    """
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return msgspec.json.encode({**obj, "metadata": metadata})


def _place(obj: dict[str, Any]) -> _Place:
    return str(obj.get("apiVersion")), str(obj.get("kind")), str(obj["metadata"].get("namespace") or "")


def _is_in(place: _Place, stream: Stream) -> bool:
    api_version, kind, namespace = place
    return (api_version, kind) == (stream.kind.api_version, stream.kind.name) and stream.namespace in {None, namespace}
