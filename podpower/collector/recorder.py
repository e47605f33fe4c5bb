"""A live cluster into a recording: its objects as they change, its counters as they are scraped."""

import time
from collections.abc import Callable, Sequence

import msgspec

from podpower.errors import Unavailable
from podpower.labels.kepler import GENERATIONS
from podpower.labels.owners import OWNER_METRICS
from podpower.sources.hours import HOUR_S
from podpower.sources.kubernetes.api import Note
from podpower.sources.kubernetes.live import LiveObjects
from podpower.sources.prometheus.source import Prometheus
from podpower.sources.protocols import Selector
from podpower.sources.recording import read_meta
from podpower.sources.writing import RecordingWriter

_LAG_S = 30.0  # a scrape has come in by then
_SHORTEST_S = 1.0


class Recorder:
    """Writes what `objects` and `prometheus` tell into the recording of `objects`, one step after another."""

    def __init__(self, objects: LiveObjects, prometheus: Prometheus, *, note: Note) -> None:
        self._objects, self._prometheus, self._note = objects, prometheus, note
        self._writer = RecordingWriter(objects.root)
        self.events = self.samples = 0

    def run(self, *, since_s: float, until_s: float, every_s: float, stop: Callable[[], bool]) -> None:
        """Record from `since_s`, of which only samples are left to be had, to `until_s` or until `stop`.

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
        """Write the samples after `start_s`, hour by hour; returns up to where."""
        while end_s - start_s >= _SHORTEST_S:
            hour_start_s = start_s // HOUR_S * HOUR_S
            piece_end_s = min(end_s, hour_start_s + HOUR_S)
            self._write(hour_start_s, start_s, piece_end_s)
            start_s = piece_end_s
        return start_s

    def _write(self, hour_start_s: float, start_s: float, end_s: float) -> None:
        names = self._prometheus.metric_names(start_s=start_s, end_s=end_s)
        found = self._prometheus.samples(_selectors(names), start_s=start_s, end_s=end_s - 1e-3)
        for warning in found.warnings:
            self._note(f"warning: {warning}")
        if found.partial:
            raise Unavailable("Prometheus gave a partial answer")
        part = f"{(start_s - hour_start_s) * 1000:07.0f}"
        self._writer.samples(hour_start_s, part, series=found.series, points=found.points)
        self.samples += len(found.points)
        self._describe(names)

    def _describe(self, names: frozenset[str]) -> None:
        """Say in recording.json which Kepler it was."""
        meta = read_meta(self._objects.root)
        generations = [g.name for g in GENERATIONS if g.metrics(names)]
        if generations and not meta.kepler:
            self._writer.meta(msgspec.structs.replace(meta, kepler=generations[0]))


def _selectors(names: frozenset[str]) -> Sequence[Selector]:
    kepler = [s for generation in GENERATIONS for s in generation.selectors(names, energy="total")]
    return [*kepler, *(Selector(metric=metric) for metric in OWNER_METRICS if metric in names)]
