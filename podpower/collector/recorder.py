"""Recorder of a live cluster: its objects as they change, its counters as they are scraped."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from podpower.collector.journal import Journal
from podpower.collector.watch import Watch
from podpower.errors import InvalidInput, Unavailable
from podpower.hours import HOUR_S, hour_name, start_of_hour
from podpower.io.retries import Note
from podpower.labels.kepler import BUILD_INFO, GENERATIONS
from podpower.labels.owners import OWNER_METRICS
from podpower.sources.prometheus.source import Prometheus
from podpower.sources.protocols import Selector
from podpower.sources.recording import META, Meta, read_meta
from podpower.sources.writing import RecordingWriter

_LAG_S = 30.0  # a scrape has come in by then
_SHORTEST_S = 1.0
_LOOK_S = 0.1


class Recorder:
    """Writes what `watch` finds into `journal`, and the samples of `prometheus` into the recording in `root`."""

    def __init__(self, root: Path, watch: Watch, journal: Journal, prometheus: Prometheus, *, note: Note) -> None:
        self._root, self._watch, self._journal, self._prometheus = root, watch, journal, prometheus
        self._note = note
        self._writer = RecordingWriter(root)
        self._failed = False
        self.samples = 0

    @property
    def events(self) -> int:
        """Number of changes that were recorded, with the objects that existed."""
        return self._journal.events

    def run(self, *, since_s: float, until_s: float, every_s: float, stop: Callable[[], bool]) -> None:
        """Record from `since_s`, for whose past only samples exist, to `until_s` or until `stop`.

        Unavailable passes by itself and is tried again; other errors end it.
        """
        asyncio.run(self._run(since_s, until_s, every_s, stop))

    async def _run(self, since_s: float, until_s: float, every_s: float, stop: Callable[[], bool]) -> None:
        ended = asyncio.Event()
        following = asyncio.create_task(self._watch.follow(ended))
        sampling = asyncio.create_task(asyncio.to_thread(self._sample, since_s, until_s, every_s, stop))
        await asyncio.wait([following, sampling], return_when=asyncio.FIRST_COMPLETED)
        self._failed = following.done()
        ended.set()
        await following
        await sampling

    def _sample(self, since_s: float, until_s: float, every_s: float, stop: Callable[[], bool]) -> None:
        """Fetch samples step by step, after the first list of the objects."""
        while not self._journal.begun:
            if self._failed or stop():
                return
            time.sleep(_LOOK_S)
        reached_s = since_s
        while True:
            began_s = time.time()
            self._extend(since_s)
            try:
                reached_s = self._sampled(reached_s, min(until_s, time.time() - _LAG_S))
            except Unavailable as error:
                self._note(f"{error}; trying again in {every_s:g} s")
            if reached_s >= until_s - _LAG_S - _SHORTEST_S or stop():
                return
            while time.time() < began_s + every_s and not stop():
                if self._failed:
                    return
                time.sleep(_LOOK_S)

    def _extend(self, since_s: float) -> None:
        """Write how far the recording reaches; the first time, begin it."""
        now_s = time.time()
        if (self._root / META).exists():
            meta = read_meta(self._root)
        else:
            meta = Meta(
                recording_id=self._journal.meta.journal_id, cluster=self._journal.meta.cluster, kepler="",
                scrape_interval_s=0.0, start_s=since_s, end_s=now_s,
            )  # fmt: skip
        self._writer.meta(msgspec.structs.replace(meta, end_s=max(now_s, meta.end_s)))

    def _sampled(self, start_s: float, end_s: float) -> float:
        """Write the samples after `start_s`, hour by hour; return the time that was reached."""
        while end_s - start_s >= _SHORTEST_S:
            hour_start_s = start_of_hour(start_s)
            piece_end_s = min(end_s, hour_start_s + HOUR_S)
            written, names = _write_samples(self._writer, self._prometheus, start_s, piece_end_s, note=self._note)
            self.samples += written
            self._describe(names)
            start_s = piece_end_s
        return start_s

    def _describe(self, names: frozenset[str]) -> None:
        """Write the generation of Kepler into recording.json."""
        meta = read_meta(self._root)
        generations = [g.name for g in GENERATIONS if g.metrics(names)]
        if generations and not meta.kepler:
            self._writer.meta(msgspec.structs.replace(meta, kepler=generations[0]))


def record_again(root: Path | str, prometheus: Prometheus, *, hour_start_s: float, note: Note) -> int:
    """Fetch the samples of one hour of the recording in `root` again, in place of all its parts; return how many.

    InvalidInput when the recording has no such hour or `prometheus` has no sample of it any more.
    """
    meta, writer = read_meta(Path(root)), RecordingWriter(root)
    start_s, end_s = max(hour_start_s, meta.start_s), min(hour_start_s + HOUR_S, meta.end_s)
    if start_s >= end_s:
        raise InvalidInput(f"{root} has no hour {hour_name(hour_start_s)}")
    if not prometheus.metric_names(start_s=start_s, end_s=end_s):
        raise InvalidInput(
            f"Prometheus has no energy sample of {hour_name(hour_start_s)} any more; nothing was changed"
        )
    written, _ = _write_samples(writer, prometheus, start_s, end_s, note=note)
    writer.only_part(hour_start_s, _part(start_s))
    return written


def _write_samples(
    writer: RecordingWriter, prometheus: Prometheus, start_s: float, end_s: float, *, note: Note
) -> tuple[int, frozenset[str]]:
    """Write the samples in [start_s, end_s), within one hour; return their number and the names of the metrics."""
    names = prometheus.metric_names(start_s=start_s, end_s=end_s)
    found = prometheus.samples(_selectors(names), start_s=start_s, end_s=end_s - 1e-3)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if found.partial_ranges:
        raise Unavailable("Prometheus gave a partial answer")
    writer.samples(start_of_hour(start_s), _part(start_s), series=found.series, points=found.points)
    return len(found.points), names


def _part(start_s: float) -> str:
    return f"{start_s % HOUR_S * 1000:07.0f}"


def _selectors(names: frozenset[str]) -> Sequence[Selector]:
    kepler = [s for generation in GENERATIONS for s in generation.selectors(names, energy="total")]
    nodes = [s for generation in GENERATIONS for s in generation.node_selectors(names, energy="total")]
    others = (Selector(metric=metric) for metric in (*OWNER_METRICS, BUILD_INFO) if metric in names)
    return [*kepler, *nodes, *others]
