"""What a live cluster's objects did, kept as a recording: a poll appends what changed since the last one.

The journal is all there is to know: after a crash the next poll goes on from what was written. Objects are kept without
credentials and without what podpower does not read (`podpower.specs.essentials`).
"""

import fcntl
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podpower.errors import InvalidInput, Unavailable
from podpower.files import write_atomically
from podpower.sources.hours import HOUR_S, hour_name, hour_start_s
from podpower.sources.kubernetes.following import Change, Stream
from podpower.sources.kubernetes.times import happened_s
from podpower.sources.protocols import EventType, ObjectEvent
from podpower.sources.recording import META, OBJECTS, SNAPSHOTS, EventLine, Meta, read_meta
from podpower.sources.writing import RecordingWriter
from podpower.specs.essentials import essential

VERSIONS, LOCK = "versions.json", "journal.lock"
_LINE = msgspec.json.Decoder(EventLine)
# Within a poll owners come before what they own, and what has gone comes last.
_RANK = {"Pod": 2, "ReplicaSet": 1, "Job": 1, "ControllerRevision": 1}


@dataclass(slots=True)
class _Entry:
    """An object alive: since when in this form, its resourceVersion, and all else of it as JSON."""

    ts: float
    version: str
    content: bytes


class Journal:
    """The recording in `root` that is written from the cluster `cluster`. Open it with `opened`."""

    def __init__(self, root: Path, meta: Meta) -> None:
        self.root = root
        self.cluster = meta.cluster
        self._meta = meta
        self._writer = RecordingWriter(root)
        self._alive: dict[str, _Entry] = {}
        self._recent: set[tuple[str, str, str]] = set()  # uid, version and type of what was written last
        self.versions: dict[str, str] = {}  # where each stream goes on
        self._hour = ""  # the newest that anything was written to
        self._load()

    @classmethod
    @contextmanager
    def opened(cls, root: Path, *, cluster: str, begins_s: float | None = None) -> "Iterator[Journal]":
        """The journal in `root`, begun if there is none. Unavailable while another process writes it; InvalidInput
        when it is of another cluster.
        """
        begins_s = time.time() if begins_s is None else begins_s
        root.mkdir(parents=True, exist_ok=True)
        with (root / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Unavailable(f"{root} is being written by another process: let only one of them do it") from None
            if (root / META).exists():
                meta = read_meta(root)
                if meta.seed is not None:
                    raise InvalidInput(f"{root} is a simulation: name another folder for what a live cluster does")
                if meta.cluster != cluster:
                    raise InvalidInput(f"{root} records the cluster {meta.cluster}, not {cluster}: name another folder")
            else:
                meta = Meta(
                    recording_id=str(uuid.uuid4()), cluster=cluster, kepler="", scrape_interval_s=0.0, start_s=begins_s,
                    end_s=begins_s,
                )  # fmt: skip
            yield cls(root, meta)

    @property
    def meta(self) -> Meta:
        """What it is, and up to when it goes."""
        return self._meta

    def known(self, stream: Stream) -> dict[str, str]:
        """The resourceVersion of each uid of the stream that is alive."""
        found = {}
        for uid, entry in self._alive.items():
            identity = _IDENTITY.decode(entry.content)
            if (identity.kind, identity.api_version) == (stream.kind.name, stream.kind.api_version) and (
                stream.namespace in {None, identity.metadata.namespace}
            ):
                found[uid] = entry.version
        return found

    def last(self, uid: str) -> dict[str, Any] | None:
        """The last known form of an object."""
        entry = self._alive.get(uid)
        return None if entry is None else self._object(entry)

    def append(self, changes: Iterable[Change], versions: dict[str, str], *, now_s: float) -> int:
        """Write what is new in `changes`, then where each stream goes on; returns how many events were written."""
        first = not (self.root / META).exists()
        # An object that is first listed has been as it is for some time; one that is first watched began now.
        ordered = sorted(changes, key=_order)
        events = [event for change in ordered if (event := self._event(change, now_s=now_s, first=first))]
        if first:
            self._remember(events)
            self._writer.snapshot(self._meta.start_s, events)
            self._hour = hour_name(self._meta.start_s)
        else:
            self._write(events)
        self._roll(hour_name(now_s), now_s)
        self._meta = msgspec.structs.replace(self._meta, end_s=now_s)
        self._writer.meta(self._meta)
        self.versions = {**self.versions, **versions}
        write_atomically(self.root / VERSIONS, msgspec.json.encode(self.versions))
        return len(events)

    def prune(self, *, before_s: float) -> None:
        """Remove hours that ended before `before_s`; the recording then begins later."""
        limit = hour_name(before_s)
        newest = hour_name(self._meta.end_s)
        for kind in (OBJECTS, SNAPSHOTS):
            for path in (self.root / kind).glob("*.ndjson"):
                if path.stem < min(limit, newest):
                    path.unlink()
        if before_s > self._meta.start_s:
            start_s = min(before_s, self._meta.end_s) // HOUR_S * HOUR_S
            self._meta = msgspec.structs.replace(self._meta, start_s=max(start_s, self._meta.start_s))
            self._writer.meta(self._meta)

    def _event(self, change: Change, *, now_s: float, first: bool) -> ObjectEvent | None:
        """The event in its essential form; None for what changes nothing that is read."""
        kept = essential(change.object)
        metadata = kept["metadata"]
        uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        if not uid or (uid, version, change.type) in self._recent:
            return None
        type_: EventType = change.type
        before = self._alive.get(uid)
        if type_ == "DELETED":
            if before is None:
                return None
        else:
            type_ = "MODIFIED" if before is not None else "ADDED"
            if before is not None and before.content == _content(kept):
                before.version = version
                return None
        listed = first or (change.version is None and type_ != "DELETED")
        ts = happened_s(change.object, type_, now_s=now_s, listed=listed)
        return ObjectEvent(ts=ts, type=type_, object=kept)

    def _write(self, events: list[ObjectEvent]) -> None:
        """Append, never to an hour before the newest; the objects alive are written at the beginning of each hour."""
        by_hour: dict[str, list[ObjectEvent]] = {}
        floor_s = hour_start_s(self._hour)
        for event in events:
            placed = ObjectEvent(ts=max(event.ts, floor_s), type=event.type, object=event.object)
            by_hour.setdefault(hour_name(placed.ts), []).append(placed)
        for hour in sorted(by_hour):
            self._roll(hour, by_hour[hour][0].ts)
            self._writer.events(by_hour[hour])
            self._remember(by_hour[hour])

    def _roll(self, hour: str, ts: float) -> None:
        if hour <= self._hour:
            return
        if not (self.root / SNAPSHOTS / f"{hour}.ndjson").exists():
            alive = (ObjectEvent(ts=e.ts, type="ADDED", object=self._object(e)) for e in self._alive.values())
            self._writer.snapshot(ts, alive)
        self._hour = hour
        self._recent.clear()

    def _remember(self, events: Iterable[ObjectEvent]) -> None:
        for event in events:
            metadata = event.object["metadata"]
            uid, version = metadata["uid"], str(metadata.get("resourceVersion", ""))
            self._recent.add((uid, version, event.type))
            if event.type == "DELETED":
                self._alive.pop(uid, None)
            else:
                self._alive[uid] = _Entry(event.ts, version, _content(event.object))

    @staticmethod
    def _object(entry: _Entry) -> dict[str, Any]:
        obj: dict[str, Any] = msgspec.json.decode(entry.content)
        obj["metadata"]["resourceVersion"] = entry.version
        return obj

    def _load(self) -> None:
        """What is alive: the last snapshot and what came after it."""
        snapshots = sorted((self.root / SNAPSHOTS).glob("*.ndjson"))
        base = snapshots[-1].stem if snapshots else ""
        later = sorted(path for path in (self.root / OBJECTS).glob("*.ndjson") if path.stem >= base)
        for path in (*snapshots[-1:], *later):
            _mend(path)
            with path.open("rb") as stream:
                for line in stream:
                    try:
                        event = _LINE.decode(line)
                    except msgspec.DecodeError:
                        continue  # the reader of the recording tells of it
                    self._remember([ObjectEvent(ts=event.ts, type=event.type, object=event.object)])
            self._hour = max(self._hour, path.stem)
        versions = self.root / VERSIONS
        if versions.exists():
            try:
                self.versions = msgspec.json.decode(versions.read_bytes(), type=dict[str, str])
            except msgspec.DecodeError:
                self.versions = {}  # list again: what is known tells what changed


class _Who(msgspec.Struct):
    namespace: str = ""


class _Identity(msgspec.Struct, rename={"api_version": "apiVersion"}):
    kind: str = ""
    api_version: str = ""
    metadata: _Who = msgspec.field(default_factory=_Who)


_IDENTITY = msgspec.json.Decoder(_Identity)


def _order(change: Change) -> tuple[int, int]:
    if change.type == "DELETED":
        return (3, 0)
    return (_RANK.get(str(change.object.get("kind")), 0), 0)


def _content(obj: Any) -> bytes:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return msgspec.json.encode({**obj, "metadata": metadata})


def _mend(path: Path) -> None:
    """Cut off a line that a crash left without its end."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)
