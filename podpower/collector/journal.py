"""The journal sink: what a live cluster's objects did, on a folder or an object store.

The journal is its own memory: a watch that starts again continues from what was written. Objects are kept without
credentials and without what podpower does not read (`podpower.specs.essentials`). Events and versions of a flush are
stored together, so that nothing is mended after a kill.
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from podpower.collector.alive import content_of
from podpower.collector.flushing import Batch, Beginning, Flusher, HourEnd
from podpower.collector.known import Change, Known
from podpower.collector.loading import Written, load
from podpower.collector.metrics import Metrics
from podpower.collector.migration import clear, migrate
from podpower.collector.seen import Seen
from podpower.collector.single_writer import Locked, await_silence, locked
from podpower.errors import InvalidInput, PodpowerError
from podpower.hours import DAY_S, HOUR_S, hour_name, hour_start_s
from podpower.io.places import AnyPath
from podpower.io.retries import Backoff, Note
from podpower.kubernetes.kinds import ownership_rank
from podpower.kubernetes.times import happened_s
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import Gap, JournalMeta, event_line
from podpower.sources.journal.reader import STALE_S, JournalReader
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Item, Nameless, Stream
from podpower.specs.essentials import essential

KEPT_DAYS = 30.0
FLUSH_S = 5.0  # events are stored after so many seconds
_QUIET = 6  # a journal without events writes that it is up to date this much less often
_MAX_WAITING = 100_000  # events in memory while the store does not answer; then the watch waits
_MAX_GAPS = 1000
# What is taken at once is sorted: owners before what they own, deletions last.
_GONE = 1 + ownership_rank("Pod")


def _wall_s() -> float:
    return time.time()


class Journal:
    """The journal at `files`, open to be written; a `Sink`. Use `opened`."""

    def __init__(
        self, files: JournalFiles, meta: JournalMeta, written: Written | None, *, cluster: str, kept_days: float,
        flush_s: float, note: Note, metrics: Metrics, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.files, self.meta, self._cluster, self._clock = files, meta, cluster, clock
        self._kept_days, self._flush_s, self._quiet_s = kept_days, flush_s, _QUIET * flush_s
        self._note, self._metrics = note, metrics
        self.begun = written is not None
        self.events = 0
        written = written or Written(hour=hour_name(meta.start_s))
        last = written.last
        self._objects, self._hour = written.objects, written.hour
        self._gaps, self._hour_gaps = written.gaps, written.hour_gaps
        self._uid = last.cluster_uid if last else meta.cluster_uid
        self._versions = dict(last.versions) if last else {}
        self._seen = Seen(self._versions, reached_s=last.reached_s if last else meta.start_s)
        self._flusher = Flusher(
            files, meta, written, kept_days=kept_days, note=note, metrics=metrics, quiet_s=self._quiet_s
        )
        self._streams: list[str] = []
        self._taken: list[list[bytes]] = [[] for _ in range(_GONE + 1)]
        self._deleted: set[str] = set()  # of those
        self._settled: list[bytes] = []
        self._queue: deque[Batch | Beginning | HourEnd] = deque()
        self._taking: Batch | Beginning | HourEnd | None = None  # what the store has not taken yet
        self._refused, self._behind = False, False
        self._wake, self._room, self._storing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._room.set()

    @classmethod
    @contextmanager
    def opened(
        cls, url: AnyPath, *, cluster: str, kept_days: float = KEPT_DAYS, begins_s: float | None = None,
        flush_s: float = FLUSH_S, note: Note = lambda _: None, metrics: Metrics | None = None,
        clock: Callable[[], float] = _wall_s,
    ) -> "Iterator[Journal]":  # fmt: skip
        """Open the journal at `url`, and begin it if there is none, at `begins_s` or now. Locked while another process
        writes it.
        """
        files, metrics = JournalFiles(url), metrics or Metrics()
        with locked(files) or contextlib.nullcontext():
            files.remove_parts()
            migrate(files, note=note)
            meta, written = files.meta(), None
            if meta is None:
                clear(files)
                start_s = time.time() if begins_s is None else begins_s
                meta = JournalMeta(journal_id=str(uuid.uuid4()), cluster=cluster, start_s=start_s)
            else:
                await_silence(files, note=note)
                reader = JournalReader(url)
                written = load(reader, now_s=time.time())
                for damage in reader.damaged:
                    note(f"damaged: {damage}")
                metrics.damaged(len(reader.damaged))
            yield cls(
                files, meta, written, cluster=cluster, kept_days=kept_days, flush_s=flush_s, note=note,
                metrics=metrics, clock=clock,
            )  # fmt: skip

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the version at which each stream resumes."""
        return self._versions

    def known(self, stream: Stream) -> Known:
        """Return what the journal has of a stream."""
        return self._objects.known(stream, reached=self._versions.get(stream.key))

    def identify(self, uid: str) -> None:
        """Take the identity of the cluster, "" where it is unknown. A rebuilt cluster is listed again: the versions of
        the former one mean nothing, and what was alive has gone. InvalidInput where it is neither the journal's by its
        name nor by its UID.
        """
        if self._cluster != self.meta.cluster and uid not in {self._uid} - {""}:
            raise InvalidInput(
                f"{self.files} records the cluster {self.meta.cluster}, not {self._cluster}: name another place"
            )
        if uid and self._uid and uid != self._uid:
            self._note(f"the cluster {self.meta.cluster} was rebuilt: listing everything; what was alive is gone")
            self._versions = {}
            self._seen.rebuilt()
        self._uid = uid or self._uid

    def begin(self, api: Api, streams: list[Stream]) -> None:  # noqa: ARG002
        """Prepare to take changes of these streams."""
        self._streams = [stream.key for stream in streams]
        self._seen.watch(self._streams, now_s=self._clock())

    async def run(self) -> None:
        """Store what is due until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._store()

    def observe(self, item: Item) -> None:
        """Take note of an item before its changes: when its stream was seen, and what could not be seen."""
        if isinstance(item, Nameless):
            self._note(f"{item.stream.kind}: skipped an object without a name")
        gap = self._seen.item(item, now_s=self._clock())
        if gap is not None and self.begun:
            seconds = gap.end_s - gap.start_s
            self._add_gap(gap)
            self._note(f"{item.stream.kind}: changes of {seconds:.0f} s could not be seen: {gap.reason}")

    async def take(self, change: Change) -> None:
        """Keep a change to be stored, unless it changes nothing that podpower reads. Waits while the store is away and
        too much waits for it.
        """
        await self._room.wait()
        before = self._objects.alive.get(change.uid)
        if change.type == "DELETED" and change.listed:
            if before is None:
                return
            kept = before.object()
            kept["metadata"]["resourceVersion"] = change.resource_version or before.version
        else:
            kept = essential(change.object)
        content = content_of(kept)
        if before is not None and change.type != "DELETED" and before.content == content:
            self._objects.alive[change.uid] = replace(before, version=change.resource_version)
            return
        # What is listed has been as it is for some time; what is watched happens now.
        ts = happened_s(change.object, change.type, now_s=self._clock(), listed=change.listed)
        ts = self._within_hour(ts) if self.begun else ts
        rank = _GONE if change.type == "DELETED" else ownership_rank(kept.get("kind"))
        self._objects.put(ts, change.type, kept, content)
        if self.begun:  # what is listed before is in the first snapshot
            if change.type == "DELETED":
                self._deleted.add(change.uid)
            elif change.uid in self._deleted:  # a server that gives no uids: the new object comes after the deletion
                self._settle()
            self._taken[rank].append(event_line(ts, change.type, kept))
        self.events += 1

    async def flush(self, versions: Mapping[str, str]) -> None:
        """Wait for the checkpoint: what is taken at once is put in the order of ownership."""

    def checkpoint(self, versions: Mapping[str, str]) -> None:
        """Queue what was taken with the versions at which the streams resume; `run` stores it. A journal begins when
        every stream was listed.
        """
        now_s = self._clock()
        self._versions = {**self._versions, **versions}
        if not self.begun:
            if not all(key in self._versions for key in self._streams):
                return
            self.begun = True
            alive = list(self._objects.alive.values())
            self._queue.append(Beginning(hour=self._hour, alive=alive, first=self._batch(now_s)))
        self._look_at_clock(now_s)
        self._settle()
        lines, self._settled = self._settled, []
        self._add(lines, now_s)
        if hour_name(now_s) > self._hour:
            self._end_hour(now_s)
        self._wake.set()

    async def drain(self) -> None:
        """Store everything, and that the writer ends in order."""
        if self.begun and not self._refused:
            self._add([], self._clock(), closed=True)
            await self._store(everything=True)

    def _look_at_clock(self, now_s: float) -> None:
        """Record a gap where the clock jumped back to an hour that ended: until the newest one, all changes are put at
        its begin.
        """
        begins_s = hour_start_s(self._hour)
        was_behind, self._behind = self._behind, now_s < begins_s - STALE_S
        if self._behind and not was_behind:
            self._add_gap(Gap(stream="", start_s=now_s, end_s=begins_s, reason="the clock jumped back"))
            self._note(
                f"the clock jumped back by over {begins_s - now_s:.0f} s: changes until {self._hour} are put there"
            )

    def _add_gap(self, gap: Gap) -> None:
        self._hour_gaps = [*self._hour_gaps, gap][-_MAX_GAPS:]
        self._metrics.gap(gap.end_s - gap.start_s)

    def _settle(self) -> None:
        """Put what was taken in the order of ownership."""
        self._settled += [line for ranked in self._taken for line in ranked]
        self._taken = [[] for _ in self._taken]
        self._deleted.clear()

    def _add(self, lines: list[bytes], now_s: float, *, closed: bool = False) -> None:
        """Put lines into the newest batch of the queue."""
        batch = self._batch(now_s, lines, closed=closed)
        if self._queue and isinstance(newest := self._queue[-1], Batch) and newest.hour == batch.hour:
            batch.lines = newest.lines
            batch.lines += lines
            self._queue.pop()
        self._queue.append(batch)
        self._make_room()

    def _end_hour(self, now_s: float) -> None:
        """End the hour: what follows belongs to that of `now_s`."""
        gaps = [gap for gap in (*self._gaps, *self._hour_gaps) if gap.end_s > now_s - self._kept_days * DAY_S]
        self._gaps = gaps[-_MAX_GAPS:]
        ended, self._hour = self._hour, hour_name(now_s)
        alive = list(self._objects.alive.values())
        self._queue.append(
            HourEnd(hour=ended, begins=self._hour, alive=alive, gaps=self._gaps, hour_gaps=self._hour_gaps)
        )
        self._hour_gaps = []
        self._queue.append(self._batch(now_s))

    def _batch(self, now_s: float, lines: list[bytes] | None = None, *, closed: bool = False) -> Batch:
        return Batch(
            hour=self._hour, lines=lines or [], versions=self._versions, reached_s=self._seen.reached_s(now_s),
            cluster_uid=self._uid, gaps=tuple(self._hour_gaps), closed=closed,
        )  # fmt: skip

    async def _store(self, *, everything: bool = False) -> None:
        """Store what is due, or everything, in its order."""
        async with self._storing:
            while self._taking or (self._queue and (everything or self._is_due(self._queue[0]))):
                item = self._taking = self._taking or self._queue.popleft()
                await self._until_stored(self._store_taking)
                if isinstance(item, Batch):
                    self._make_room()
                    self._metrics.flushed(reached_s=item.reached_s, waiting=self._waiting)
                    await self._until_stored(self._flusher.finish_hours)

    def _store_taking(self) -> None:
        """Store what was taken off the queue. A watch that ends meanwhile leaves it to the next one."""
        if self._taking:
            self._flusher.store(self._taking)
            self._taking = None

    def _is_due(self, item: Batch | Beginning | HourEnd) -> bool:
        if not isinstance(item, Batch) or len(self._queue) > 1 or self._flusher.ended:
            return True
        age_s = abs(time.time() - self._flusher.stored_s)
        return age_s >= self._quiet_s or (age_s >= self._flush_s and bool(item.lines or item.gaps))

    async def _until_stored(self, work: Callable[[], None]) -> None:
        """Do work that writes, in a thread, again and again until the store takes it. Locked beside another writer.

        When it is cancelled, the thread ends first: two must not write.
        """
        backoff = Backoff()
        while True:
            working = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait([working])
                raise
            except Locked:
                self._refused = True
                raise
            except PodpowerError as error:
                self._metrics.flush_failed(self._waiting)
                wait_s = backoff.next_s()
                self._note(f"the journal cannot be written: {error}; trying again in {wait_s:.1f} s")
                await asyncio.sleep(wait_s)
            else:
                return

    @property
    def _waiting(self) -> int:
        """Number of events that are not stored."""
        items = [*self._queue, self._taking]
        return sum(len(item.lines) for item in items if isinstance(item, Batch))

    def _make_room(self) -> None:
        (self._room.clear if self._waiting > _MAX_WAITING else self._room.set)()

    def _within_hour(self, ts: float) -> float:
        """Return a time in the newest hour: nothing is written to another one."""
        begins_s = hour_start_s(self._hour)
        return min(max(ts, begins_s), begins_s + HOUR_S - 1e-3)
