"""What a live cluster's objects did, kept as a recording: a poll appends what changed since the last one.

The journal is all there is to know: after a crash the next poll goes on from what was written. Objects are kept without
credentials and without what podpower does not read (`podpower.specs.essentials`).
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.io.files import write_atomically
from podpower.io.locks import lock
from podpower.sources.hours import HOUR_S, hour_name, hour_start_s
from podpower.sources.kubernetes.list_watch import Change, Stream
from podpower.sources.kubernetes.times import happened_s
from podpower.sources.protocols import EventType
from podpower.sources.recording import META, OBJECTS, SNAPSHOTS, EventLine, Meta, read_meta
from podpower.sources.writing import RecordingWriter, event_line
from podpower.specs.essentials import essential

VERSIONS, LOCK = "versions.json", "journal.lock"
_WRITTEN_TO = "hour"  # in versions.json: the hour of the last events that the versions cover
_LINE = msgspec.json.Decoder(EventLine)
# Of what is written at once owners come before what they own, and what has gone comes last.
OWNERSHIP = {"ReplicaSet": 1, "Job": 1, "ControllerRevision": 1, "Pod": 2}
_GONE = 3


@dataclass(slots=True)
class _Entry:
    """An object alive: since when in this form, its resourceVersion, and all else of it as JSON."""

    ts: float
    version: str
    content: bytes


class Journal:
    """The recording in `root`, open to be written. `take` what changed, then `write` it."""

    def __init__(self, root: Path, meta: Meta, *, now_s: float) -> None:
        """Use `opened`."""
        self.root, self.meta = root, meta
        self._writer = RecordingWriter(root)
        self._alive: dict[str, _Entry] = {}
        self.gone: dict[str, str] = {}  # the resourceVersion at which a uid was deleted that can be sent again
        self._taken: list[list[bytes]] = [[] for _ in range(_GONE + 1)]
        self.versions: dict[str, str] = {}  # where each stream goes on
        self._begins = not (root / META).exists()
        if self._begins:
            self._clear()
        self._load()
        newest = max((path.stem for path in (root / SNAPSHOTS).glob("*.ndjson")), default="")
        self._hour = max(newest, hour_name(meta.start_s if self._begins else now_s))
        if not self._begins and self._hour > newest:
            alive = (event_line(e.ts, "ADDED", self._object(e)) for e in self._alive.values())
            self._writer.snapshot_lines(self._hour, alive)

    @classmethod
    @contextmanager
    def opened(cls, root: Path, *, cluster: str, begins_s: float | None = None) -> "Iterator[Journal]":
        """The journal in `root`, begun if there is none. Unavailable while another process writes it; InvalidInput
        when it is of another cluster.
        """
        now_s = time.time()
        root.mkdir(parents=True, exist_ok=True)
        with lock(root / LOCK, busy=f"{root} is being written by another process: let only one of them do it"):
            if (root / META).exists():
                meta = read_meta(root)
                if meta.seed is not None:
                    raise InvalidInput(f"{root} is a simulation: name another folder for what a live cluster does")
                if meta.cluster != cluster:
                    raise InvalidInput(f"{root} records the cluster {meta.cluster}, not {cluster}: name another folder")
            else:
                start_s = now_s if begins_s is None else begins_s
                meta = Meta(
                    recording_id=str(uuid.uuid4()), cluster=cluster, kepler="", scrape_interval_s=0.0, start_s=start_s,
                    end_s=start_s,
                )  # fmt: skip
            yield cls(root, meta, now_s=now_s)

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

    def take(self, change: Change, *, now_s: float) -> bool:
        """Keep a change to be written; False for one that changes nothing that is read, or was written before."""
        kept = essential(change.object)
        metadata = kept["metadata"]
        uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        before = self._alive.get(uid)
        if not uid or (change.type == "DELETED" and before is None):
            return False
        type_: EventType = change.type
        content = _content(kept)
        if type_ != "DELETED":
            type_ = "ADDED" if before is None else "MODIFIED"
            if before is not None and before.content == content:
                before.version = version
                return False
        # What is listed has been as it is for some time; what is watched happens now.
        told_s = happened_s(change.object, type_, now_s=now_s, listed=change.version is None)
        ts = told_s if self._begins else self._within_hour(told_s)
        rank = _GONE if type_ == "DELETED" else OWNERSHIP.get(str(kept.get("kind")), 0)
        self._taken[rank].append(event_line(ts, type_, kept))
        self._remember(uid, version, type_, ts, content)
        return True

    def write(self, versions: Mapping[str, str], *, now_s: float) -> int:
        """Put what was taken on disk, then where each stream goes on; returns how many events that were."""
        count = sum(map(len, self._taken))
        lines = (line for ranked in self._taken for line in ranked)
        if self._begins:
            self._writer.snapshot_lines(self._hour, lines)
        elif count:
            self._writer.event_lines(self._hour, lines)
        self._taken = [[] for _ in self._taken]
        self._begins = False
        self.meta = msgspec.structs.replace(self.meta, end_s=max(now_s, self.meta.end_s))
        self._writer.meta(self.meta)
        self.versions = {**self.versions, **versions}
        write_atomically(self.root / VERSIONS, msgspec.json.encode({**self.versions, _WRITTEN_TO: self._hour}))
        return count

    def prune(self, *, before_s: float) -> None:
        """Remove the objects of hours before `before_s`, but for the newest; the recording then begins later."""
        kept = [path for path in (self.root / SNAPSHOTS).glob("*.ndjson") if path.stem >= hour_name(before_s)]
        if before_s <= self.meta.start_s or not kept:
            return
        first = min(path.stem for path in kept)
        for kind in (OBJECTS, SNAPSHOTS):
            for path in (self.root / kind).glob("*.ndjson"):
                if path.stem < first:
                    path.unlink()
        self.meta = msgspec.structs.replace(self.meta, start_s=max(self.meta.start_s, hour_start_s(first)))
        self._writer.meta(self.meta)

    def _clear(self) -> None:
        """Remove the snapshot of a beginning that was killed. InvalidInput where there is more than that."""
        if any((self.root / OBJECTS).glob("*.ndjson")):
            raise InvalidInput(f"{self.root} has hours of a recording and no {META}: name another folder")
        for path in (self.root / SNAPSHOTS).glob("*.ndjson"):
            path.unlink()

    def _within_hour(self, ts: float) -> float:
        """Nothing is written to another hour than the newest."""
        begins_s = hour_start_s(self._hour)
        return min(max(ts, begins_s), begins_s + HOUR_S - 1e-3)

    def _remember(self, uid: str, version: str, type_: str, ts: float, content: bytes) -> None:
        if type_ == "DELETED":
            self._alive.pop(uid, None)
            self.gone[uid] = version
        else:
            self._alive[uid] = _Entry(ts, version, content)

    @staticmethod
    def _object(entry: _Entry) -> dict[str, Any]:
        obj: dict[str, Any] = msgspec.json.decode(entry.content)
        obj["metadata"]["resourceVersion"] = entry.version
        return obj

    def _load(self) -> None:
        """What is alive: the last snapshot and what came after it. And what has gone since the versions were written,
        which can be in hours before the snapshot.
        """
        versions = self.root / VERSIONS
        if versions.exists():
            try:
                self.versions = msgspec.json.decode(versions.read_bytes(), type=dict[str, str])
            except ValueError:
                self.versions = {}  # list again: what is known tells what changed
        snapshots = sorted((self.root / SNAPSHOTS).glob("*.ndjson"))
        base = snapshots[-1].stem if snapshots else ""
        since = min(base, self.versions.pop(_WRITTEN_TO, base))
        hours = sorted(path for path in (self.root / OBJECTS).glob("*.ndjson") if path.stem >= since)
        earlier = [path for path in hours if path.stem < base]
        for path in (*earlier, *snapshots[-1:], *hours[len(earlier) :]):
            _mend(path)
            if path in snapshots:
                self._alive.clear()
            with path.open("rb") as stream:
                for line in stream:
                    try:
                        event = _LINE.decode(line)
                    except ValueError:
                        continue  # the reader of the recording tells of it
                    metadata = event.object["metadata"]
                    uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
                    self._remember(uid, version, event.type, event.ts, _content(event.object))


class _Who(msgspec.Struct):
    namespace: str = ""


class _Identity(msgspec.Struct, rename={"api_version": "apiVersion"}):
    kind: str = ""
    api_version: str = ""
    metadata: _Who = msgspec.field(default_factory=_Who)


_IDENTITY = msgspec.json.Decoder(_Identity)


def _content(obj: Any) -> bytes:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return msgspec.json.encode({**obj, "metadata": metadata})


def _mend(path: Path) -> None:
    """Cut off a line that a crash left without its end."""
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if stream.read(1) in {b"", b"\n"}:
            return
        stream.seek(0)
        stream.truncate(sum(len(line) for line in stream if line.endswith(b"\n")))
