"""A recording gives every event once, and only what lies in the window."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpower.errors import InvalidInput, Unavailable
from podpower.sources.protocols import POINTS_SCHEMA, SERIES_SCHEMA, ObjectEvent, Selector
from podpower.sources.recording import META, OBJECTS, Meta, Recording
from podpower.sources.writing import RecordingWriter

START_S = 1767225600.0


def event(number: int, *, ts: float, kind: str = "ADDED") -> ObjectEvent:
    return ObjectEvent(
        ts=ts, type=kind, object={"kind": "Pod", "metadata": {"uid": f"u{number}", "name": f"p{number}"}}
    )  # type: ignore[arg-type]


def recorded(root: Path, *, recording_id: str = "r1") -> RecordingWriter:
    writer = RecordingWriter(root)
    end_s = START_S + 7200
    writer.meta(
        Meta(recording_id=recording_id, cluster="c", kepler="0.10", scrape_interval_s=30, start_s=START_S, end_s=end_s)
    )
    return writer


def uids(events: list[ObjectEvent]) -> list[str]:
    return [e.object["metadata"]["uid"] for e in events]


@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(st.integers(0, 6), max_size=8), step_s=st.floats(1.0, 1800.0))
def test_changes_gives_every_event_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[int], step_s: float
) -> None:
    root = tmp_path_factory.mktemp("recording")
    writer, source = recorded(root), Recording(root)
    seen: list[str] = []
    cursor, number = None, 0
    for size in chunks:
        writer.events([event(n, ts=START_S + n * step_s) for n in range(number, number + size)])
        number += size
        found, cursor = source.changes(cursor)
        seen += uids(found)
    assert seen == [f"u{n}" for n in range(number)]


def test_an_unfinished_last_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    writer = recorded(tmp_path)
    writer.events([event(0, ts=START_S), event(1, ts=START_S)])
    path = tmp_path / OBJECTS / "2026-01-01T00.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    found, cursor = Recording(tmp_path).changes(None)
    assert uids(found) == ["u0"]
    path.write_bytes(whole)
    assert uids(Recording(tmp_path).changes(cursor)[0]) == ["u1"]


def test_events_begin_with_what_is_alive_and_end_before_the_end(tmp_path: Path) -> None:
    writer = recorded(tmp_path)
    writer.snapshot(START_S + 3600, [event(0, ts=START_S), event(1, ts=START_S)])
    hour = START_S + 3600
    writer.events([event(1, ts=hour + 60, kind="DELETED"), event(2, ts=hour + 600), event(3, ts=hour + 900)])
    found = list(Recording(tmp_path).events(start_s=hour + 300, end_s=hour + 900))
    assert [(e.type, e.object["metadata"]["uid"], e.ts) for e in found] == [
        ("ADDED", "u0", START_S),
        ("ADDED", "u2", hour + 600),
    ]


def test_samples_keep_to_the_window_and_the_metrics(tmp_path: Path) -> None:
    writer = recorded(tmp_path)
    blank = {name: [None, None] for name in SERIES_SCHEMA.names()}
    series = pl.DataFrame({**blank, "series_id": [1, 2], "metric": ["a", "b"]}, schema=SERIES_SCHEMA)
    points = pl.DataFrame(
        {"series_id": [1, 1, 2], "ts": [START_S + 30, START_S + 60, START_S + 30], "value": [1.0, 2.0, 3.0]},
        schema=POINTS_SCHEMA,
    )
    writer.samples(START_S, "p0", series=series, points=points)
    source = Recording(tmp_path)
    found = source.samples([Selector(metric="a")], start_s=START_S, end_s=START_S + 30)
    assert found.points["value"].to_list() == [1.0]
    assert found.series["series_id"].to_list() == [1]
    assert source.metric_names(start_s=START_S, end_s=START_S + 60) == {"a", "b"}


@pytest.mark.parametrize(
    "cursor", ["nonsense", '{"recording_id":"other","hour":"","offset":0}'], ids=["bad", "foreign"]
)
def test_cursors_that_do_not_fit_are_refused(tmp_path: Path, cursor: str) -> None:
    recorded(tmp_path)
    with pytest.raises(InvalidInput, match="cursor"):
        Recording(tmp_path).changes(cursor)


def test_a_missing_recording_and_another_folder_are_different_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=META):
        Recording(tmp_path)
    with pytest.raises(Unavailable, match="simulate"):
        Recording(tmp_path / "later")


def test_a_damaged_line_is_skipped_and_reported(tmp_path: Path) -> None:
    writer = recorded(tmp_path)
    writer.events([event(1, ts=START_S + 1)])
    path = tmp_path / OBJECTS / "2026-01-01T00.ndjson"
    path.write_bytes(path.read_bytes() + b'{"ts": 5, "type"\n')
    writer.events([event(2, ts=START_S + 2)])
    source = Recording(tmp_path)
    changes, cursor = source.changes(None)
    assert uids(changes) == ["u1", "u2"]
    assert len(source.damaged) == 1
    assert "2026-01-01T00.ndjson: the line that ends at byte" in source.damaged[0]
    assert Recording(tmp_path).changes(cursor)[0] == []


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    recorded(tmp_path)
    part = tmp_path / "series" / "2026-01-01T00" / "00.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PAR1")
    with pytest.raises(InvalidInput, match=r"00\.parquet, partition 2026-01-01T00, is not a readable Parquet file"):
        Recording(tmp_path).metric_names(start_s=START_S, end_s=START_S + 3600)
