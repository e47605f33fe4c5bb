"""Recordings that `podpower record` of an earlier version wrote are continued."""

import time
from pathlib import Path

import polars as pl
import pytest

from podpower.collector.migration import migrate_recording
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.simulation import simulate
from podpower.sources.protocols import POINTS_SCHEMA, SERIES_SCHEMA, ObjectEvent
from podpower.sources.recording import Meta, Recording
from podpower.sources.writing import RecordingWriter
from tests.clusters.objects import deployment


def test_objects_of_a_recording_become_a_journal_that_reads_the_same(tmp_path: Path) -> None:
    start_s = time.time() // HOUR_S * HOUR_S - 3 * HOUR_S
    stored = [deployment(name) | {"metadata": {"name": name, "namespace": "n", "uid": name}} for name in "ab"]
    writer = RecordingWriter(tmp_path)
    meta = Meta(
        recording_id="r", cluster="c", kepler="0.10", scrape_interval_s=0.0, start_s=start_s, end_s=start_s + HOUR_S
    )
    writer.meta(meta)
    writer.snapshot(start_s, [ObjectEvent(ts=start_s - 9.0, type="ADDED", object=stored[0])])
    writer.events([ObjectEvent(ts=start_s + 9.0, type="ADDED", object=stored[1])])
    writer.samples(start_s, "0", series=pl.DataFrame(schema=SERIES_SCHEMA), points=pl.DataFrame(schema=POINTS_SCHEMA))
    windows = [(start_s - HOUR_S, start_s), (start_s, start_s + HOUR_S), (start_s + 60.0, start_s + 2 * HOUR_S)]

    def read() -> list[list[ObjectEvent]]:
        recording = Recording(tmp_path)
        return [list(recording.events(start_s=a, end_s=b)) for a, b in windows] + [recording.changes(None)[0]]

    before, notes = read(), []
    migrate_recording(tmp_path, note=notes.append)
    assert read() == before
    assert notes == [f"{tmp_path}: migrated 1 hours of an earlier version"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "recording.json", "samples", "series"]
    migrate_recording(tmp_path, note=notes.append)
    assert len(notes) == 1


def test_a_simulation_is_not_continued(tmp_path: Path) -> None:
    simulate(tmp_path / "s", seed=1, start_s=time.time() - 600, hours=0.1, workloads=2)
    with pytest.raises(InvalidInput, match="is a simulation"):
        migrate_recording(tmp_path / "s", note=print)
