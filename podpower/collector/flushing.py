"""Stores what a journal's writer has taken: flushes in sequence, the beginning, and hours that ended."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from podpower.collector.alive import Entry, snapshot_lines
from podpower.collector.compaction import Ended, compact, prune
from podpower.collector.loading import Written
from podpower.collector.metrics import Metrics
from podpower.collector.single_writer import Locked, newest_flush
from podpower.hours import DAY_S, HOUR_S, hour_start_s
from podpower.io.retries import Note
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    META,
    Gap,
    Header,
    JournalMeta,
    encode_part,
    flush_name,
    sealed,
    snapshot_name,
)

_FLUSH_LINES = 5000
_MOST_DAMAGED_HOURS = 100  # that are remembered as gaps
_PAUSE_S = 60.0  # after a longer one another writer can have come and gone


@dataclass(kw_only=True)
class Batch:
    """Lines of one hour, and where the streams resume after them. `closed`: the writer ends."""

    hour: str
    lines: list[bytes] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    reached_s: float = 0.0
    cluster_uid: str = ""
    gaps: Sequence[Gap] = ()
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The objects of the first list, alive when the journal begins with the hour `hour`."""

    hour: str
    alive: Sequence[Entry]
    first: Batch


@dataclass(frozen=True, kw_only=True)
class HourEnd:
    """The end of an hour, and the objects alive when the hour `begins` begins."""

    hour: str
    begins: str
    alive: Sequence[Entry]
    gaps: Sequence[Gap]
    hour_gaps: Sequence[Gap]


class Flusher:
    """Stores items one after the other; a call that failed is repeated with the same item."""

    def __init__(
        self, files: JournalFiles, meta: JournalMeta, written: Written, *, kept_days: float, note: Note,
        metrics: Metrics, quiet_s: float,
    ) -> None:  # fmt: skip
        self._files, self._meta, self._quiet_s = files, meta, quiet_s
        self._kept_days, self._note, self._metrics = kept_days, note, metrics
        self._writer = str(uuid.uuid4())
        self._sequence, self._first_sequence, self._last = written.sequence, written.first_sequence, written.last
        self.ended: list[Ended] = list(written.ended)
        self._damage: list[Gap] = []  # of hours that this writer compacted
        self.stored_s = 0.0  # Unix seconds of the last flush
        self._opened_s = time.time()

    def store(self, item: "Batch | Beginning | HourEnd") -> None:
        """Store an item. Locked when another process writes the journal."""
        if isinstance(item, Batch):
            self._flush(item)
        elif isinstance(item, Beginning):
            self._begin(item)
        else:
            self.ended.append(self._end(item))

    def finish_hours(self) -> None:
        """Compact the hours that ended, after the first flush of the next one: it shows that nobody else writes."""
        while self.ended:
            damaged = compact(self._files, self.ended[0])
            if damaged:
                self._damage = [*self._damage, self.ended[0].damage][-_MOST_DAMAGED_HOURS:]
            for name in damaged:
                self._note(f"damaged: {name}")
            self._metrics.damaged(len(damaged))
            self._metrics.compacted()
            # By the hour that ended, not by the clock: one that jumps ahead must not remove everything.
            ended_s = hour_start_s(self.ended[0].hour) + HOUR_S
            prune(self._files, before_s=ended_s - self._kept_days * DAY_S)
            self.ended.pop(0)

    def _flush(self, batch: Batch) -> None:
        if (
            abs(time.time() - max(self.stored_s, self._opened_s)) > _PAUSE_S
            and newest_flush(self._files) > self._sequence + 1
        ):
            raise Locked(self._files)
        while True:
            chunk, last = batch.lines[:_FLUSH_LINES], len(batch.lines) <= _FLUSH_LINES
            before = self._last.versions if self._last else {}
            header = Header(
                kind="flush", hour=batch.hour, sequence=self._sequence + 1, reached_s=batch.reached_s,
                writer=self._writer, cluster_uid=batch.cluster_uid, versions=batch.versions if last else before,
                gaps=list(batch.gaps), closed=batch.closed, quiet_s=self._quiet_s,
            )  # fmt: skip
            self._create(flush_name(header.sequence), encode_part(header, chunk))
            self._sequence, self._last, self.stored_s = header.sequence, header, time.time()
            del batch.lines[: len(chunk)]
            if last:
                return

    def _begin(self, item: Beginning) -> None:
        """Create the snapshot, the first flush and last journal.json, without which there is no journal."""
        header = Header(kind="snapshot", hour=item.hour, sequence=0, reached_s=item.first.reached_s)
        self._files.create(snapshot_name(item.hour), encode_part(header, snapshot_lines(item.alive)))
        if self._sequence == 0:
            self._flush(item.first)
        self._create(META, sealed(self._meta))

    def _end(self, item: HourEnd) -> Ended:
        ended = Ended(
            hour=item.hour, begins=item.begins, first_sequence=self._first_sequence, last_sequence=self._sequence,
            alive=item.alive, gaps=[*item.gaps, *self._damage], hour_gaps=item.hour_gaps, last=self._last,
        )  # fmt: skip
        self._first_sequence = self._sequence + 1
        return ended

    def _create(self, name: str, data: bytes) -> None:
        """Create an object. One that exists is ours where an answer was lost; else there is another writer."""
        if not self._files.create(name, data) and self._files.read(name) != data:
            raise Locked(self._files)
