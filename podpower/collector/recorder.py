"""Recorder of a live cluster: its objects as they change, its counters as they are scraped."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from podpower.collector.live import LiveObjects
from podpower.errors import InvalidInput, Unavailable
from podpower.hours import HOUR_S, hour_name, start_of_hour
from podpower.io.retries import Note
from podpower.labels.kepler import BUILD_INFO, GENERATIONS
from podpower.labels.owners import OWNER_METRICS
from podpower.sources.prometheus.source import Prometheus
from podpower.sources.protocols import Selector
from podpower.sources.recording import read_meta
from podpower.sources.writing import RecordingWriter

_LAG_S = 30.0  # a scrape has come in by then
_SHORTEST_S = 1.0


class Recorder:
    """Writes the changes of `objects` and the samples of `prometheus` into the recording of `objects`, step by step."""

    def __init__(self, objects: LiveObjects, prometheus: Prometheus, *, note: Note) -> None:
        self._objects, self._prometheus, self._note = objects, prometheus, note
        self._writer = RecordingWriter(objects.root)
        self.events = self.samples = 0

    def run(self, *, since_s: float, until_s: float, every_s: float, stop: Callable[[], bool]) -> None:
        """Record from `since_s`, for whose past only samples exist, to `until_s` or until `stop`.

        Unavailable passes by itself and is tried again; other errors end it.
        """
        reached_s = since_s
        while True:
            began_s = time.time()
            try:
                self.events += self._objects.poll(begins_s=since_s, note=self._note)
                reached_s = self._sampled(reached_s, min(until_s, time.time() - _LAG_S))
            except Unavailable as error:
                self._note(f"{error}; trying again in {every_s:g} s")
            if reached_s >= until_s - _LAG_S - _SHORTEST_S or stop():
                return
            while time.time() < began_s + every_s and not stop():
                time.sleep(0.1)

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
        meta = read_meta(self._objects.root)
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
