"""The journal sink: what a live cluster's objects did, appended to a recording.

The journal is its own memory: a watch that starts again continues from what was written. Objects are kept without
credentials and without what podpower does not read (`podpower.specs.essentials`).
"""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import BaseFileLock

from podpower.collector.checkpoint import Checkpoint, CheckpointFile
from podpower.collector.known import Change, Known
from podpower.errors import InvalidInput, Unavailable
from podpower.hours import HOUR_S, hour_name, hour_start_s
from podpower.io.locks import lock
from podpower.io.retries import Note
from podpower.kubernetes.kinds import ownership_rank
from podpower.kubernetes.times import happened_s
from podpower.kubernetes.types import EventType
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Nameless, Stream
from podpower.sources.recording import META, OBJECTS, SNAPSHOTS, EventLine, Meta, read_meta
from podpower.sources.writing import RecordingWriter, event_line
from podpower.specs.essentials import essential

STATE, LOCK = "journal.state", "journal.lock"
_OLD_VERSIONS = "versions.json"  # the checkpoint of earlier versions
_LINE = msgspec.json.Decoder(EventLine)
# What is written at once is sorted: owners before what they own, deletions last.
_GONE = 1 + ownership_rank("Pod")
_Place = tuple[str, str, str]  # apiVersion, kind and namespace of an object
_QUIET_S = 20.0  # a journal without events records this often that it is up to date


class Locked(Unavailable):
    """Another process writes the journal."""


@dataclass(slots=True)
class _Entry:
    """An object: the time of its last change, its resourceVersion, its place, and the rest of it as JSON."""

    ts: float
    version: str
    place: _Place
    content: bytes


class Journal:
    """The recording in `root`, open to be written; a `Sink`. Use `opened`."""

    def __init__(self, root: Path, meta: Meta, *, now_s: float, kept_days: float, note: Note) -> None:
        self.root, self.meta = root, meta
        self._kept_days, self._note = kept_days, note
        self._writer = RecordingWriter(root)
        self._alive: dict[str, _Entry] = {}
        self._gone: dict[str, _Entry] = {}  # objects whose deletion the server can send again
        self._taken: list[list[bytes]] = [[] for _ in range(_GONE + 1)]
        self._streams: list[str] = []
        self.events = 0
        self._begins = not (root / META).exists()
        if self._begins:
            _clear(root)
        self._state = CheckpointFile(root / STATE)
        last = self._state.last if self._state.exists else _old_checkpoint(root)
        self._load(since=last.hour)
        self._state.begin(last)
        for left in (*root.glob(f".{META}.*.part"), *(root / SNAPSHOTS).glob(".*.part")):  # of writes that were killed
            left.unlink()
        newest = max((path.stem for path in (root / SNAPSHOTS).glob("*.ndjson")), default="")
        self._hour = max(newest, hour_name(meta.start_s)) if self._begins else newest
        self._roll(now_s)

    @classmethod
    @contextmanager
    def opened(
        cls, root: Path, *, cluster: str, kept_days: float, begins_s: float | None = None, note: Note = lambda _: None
    ) -> "Iterator[Journal]":
        """Open the journal in `root`, and begin it if there is none, at `begins_s` or now. Locked while another process
        writes it; InvalidInput when it is of another cluster.
        """
        now_s = time.time()
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):
            meta = _meta(root, cluster, now_s if begins_s is None else begins_s)
            journal = cls(root, meta, now_s=now_s, kept_days=kept_days, note=note)
            try:
                yield journal
            finally:
                journal._state.close()

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the version at which each stream resumes."""
        return self._state.last.versions

    def known(self, stream: Stream) -> Known:
        """Return what the journal has of a stream."""
        alive = {uid: entry.version for uid, entry in self._alive.items() if _is_in(entry.place, stream)}
        gone = {uid: entry.version for uid, entry in self._gone.items() if _is_in(entry.place, stream)}
        return Known(alive=alive, gone=gone, reached=self.versions.get(stream.key))

    def begin(self, api: Api, streams: list[Stream]) -> None:  # noqa: ARG002
        """Prepare to take changes of these streams."""
        self._streams = [stream.key for stream in streams]

    async def run(self) -> None:
        """Wait: the journal has nothing to do beside the writer."""
        await asyncio.Event().wait()

    async def take(self, change: Change) -> None:
        """Keep a change to be written, unless it changes nothing that podpower reads."""
        before = self._alive.get(change.uid)
        if change.type == "DELETED" and change.listed:
            if before is None:
                return
            kept = _object(before)
            kept["metadata"]["resourceVersion"] = change.resource_version or before.version
        else:
            kept = essential(change.object)
        content = _content(kept)
        if before is not None and change.type != "DELETED" and before.content == content:
            before.version = change.resource_version
            return
        # What is listed has been as it is for some time; what is watched happens now.
        ts = happened_s(change.object, change.type, now_s=time.time(), listed=change.listed)
        ts = ts if self._begins else self._within_hour(ts)
        rank = _GONE if change.type == "DELETED" else ownership_rank(kept.get("kind"))
        self._taken[rank].append(event_line(ts, change.type, kept))
        self._remember(kept, change.type, ts, content)

    def take_nameless(self, item: Nameless) -> None:
        """Report an object without a name."""
        self._note(f"{item.stream.kind}: skipped an object without a name")

    async def flush(self, versions: Mapping[str, str]) -> None:
        """Wait for the checkpoint: what is written at once is put in the order of ownership."""

    async def drain(self) -> None:
        """Return: the checkpoint writes everything."""

    def checkpoint(self, versions: Mapping[str, str]) -> None:
        """Put on disk what was taken, then where each stream resumes. A journal begins when every stream was listed."""
        now_s = time.time()
        versions = {**self.versions, **versions}
        if self._begins and not all(key in versions for key in self._streams):
            return
        lines = [line for ranked in self._taken for line in ranked]
        if not self._begins and not lines and versions == self.versions and now_s < self.meta.end_s + _QUIET_S:
            return
        if self._begins:
            self._writer.snapshot_lines(self._hour, lines)
        elif lines:
            self._writer.event_lines(self._hour, lines)
        self._taken = [[] for _ in self._taken]
        self._begins = False
        self.events += len(lines)
        self.meta = msgspec.structs.replace(self.meta, end_s=max(now_s, self.meta.end_s))
        self._writer.meta(self.meta)
        self._state.write(Checkpoint(versions=versions, hour=self._hour))
        self._roll(now_s)
        self._prune(before_s=now_s - self._kept_days * 86400.0)

    def _roll(self, now_s: float) -> None:
        """Begin the hour of `now_s` with a snapshot, if it is a new one."""
        if self._begins or hour_name(now_s) <= self._hour:
            return
        self._hour = hour_name(now_s)
        alive = (event_line(entry.ts, "ADDED", _object(entry)) for entry in self._alive.values())
        self._writer.snapshot_lines(self._hour, alive)

    def _prune(self, *, before_s: float) -> None:
        """Remove the objects of hours before `before_s`, except the newest; the recording then begins later."""
        if before_s <= self.meta.start_s:
            return
        kept = [path for path in (self.root / SNAPSHOTS).glob("*.ndjson") if path.stem >= hour_name(before_s)]
        if not kept:
            return
        first = min(path.stem for path in kept)
        for kind in (OBJECTS, SNAPSHOTS):
            for path in (self.root / kind).glob("*.ndjson"):
                if path.stem < first:
                    path.unlink()
        self.meta = msgspec.structs.replace(self.meta, start_s=max(self.meta.start_s, hour_start_s(first)))
        self._writer.meta(self.meta)

    def _within_hour(self, ts: float) -> float:
        """Return a time in the newest hour: nothing is written to another one."""
        begins_s = hour_start_s(self._hour)
        return min(max(ts, begins_s), begins_s + HOUR_S - 1e-3)

    def _remember(self, obj: dict[str, Any], type_: EventType, ts: float, content: bytes) -> _Entry:
        metadata = obj["metadata"]
        uid = str(metadata.get("uid", ""))
        place = (str(obj.get("apiVersion")), str(obj.get("kind")), str(metadata.get("namespace") or ""))
        entry = _Entry(ts, str(metadata.get("resourceVersion", "")), place, content)
        if type_ == "DELETED":
            self._alive.pop(uid, None)
        else:
            self._alive[uid] = entry
        return entry

    def _load(self, *, since: str) -> None:
        """Read which objects are alive: the last snapshot and what came after it. Read also what has gone in and after
        the hour `since` of the checkpoint, which can be before the snapshot.
        """
        snapshots = sorted((self.root / SNAPSHOTS).glob("*.ndjson"))
        base = snapshots[-1].stem if snapshots else ""
        hours = sorted(path for path in (self.root / OBJECTS).glob("*.ndjson") if path.stem >= min(base, since or base))
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
                        continue  # the reader of the recording reports it
                    entry = self._remember(event.object, event.type, event.ts, _content(event.object))
                    if event.type == "DELETED":
                        entry.content = b""
                        self._gone[str(event.object["metadata"].get("uid", ""))] = entry


def _locked(root: Path) -> BaseFileLock:
    try:
        return lock(root / LOCK, busy=f"{root} is being written by another process: let only one of them do it")
    except Unavailable as error:
        raise Locked(str(error)) from None


def _meta(root: Path, cluster: str, begins_s: float) -> Meta:
    if not (root / META).exists():
        return Meta(
            recording_id=str(uuid.uuid4()), cluster=cluster, kepler="", scrape_interval_s=0.0, start_s=begins_s,
            end_s=begins_s,
        )  # fmt: skip
    meta = read_meta(root)
    if meta.seed is not None:
        raise InvalidInput(f"{root} is a simulation: name another folder for the journal of a live cluster")
    if meta.cluster != cluster:
        raise InvalidInput(f"{root} records the cluster {meta.cluster}, not {cluster}: name another folder")
    return meta


def _clear(root: Path) -> None:
    """Remove the snapshot of a beginning that was killed. InvalidInput where there is more than that."""
    if any((root / OBJECTS).glob("*.ndjson")):
        raise InvalidInput(f"{root} has hours of a recording and no {META}: name another folder")
    for path in (root / SNAPSHOTS).glob("*.ndjson"):
        path.unlink()


def _old_checkpoint(root: Path) -> Checkpoint:
    """Return the checkpoint that an earlier version of podpower left."""
    path = root / _OLD_VERSIONS
    try:
        versions = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    except ValueError:
        return Checkpoint()  # list again
    hour = versions.pop("hour", "")
    return Checkpoint(versions=versions, hour=hour)


def _is_in(place: _Place, stream: Stream) -> bool:
    api_version, kind, namespace = place
    return (api_version, kind) == (stream.kind.api_version, stream.kind.name) and stream.namespace in {None, namespace}


def _object(entry: _Entry) -> dict[str, Any]:
    obj: dict[str, Any] = msgspec.json.decode(entry.content)
    obj["metadata"]["resourceVersion"] = entry.version
    return obj


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
