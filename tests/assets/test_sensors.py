"""What is asked for when something changes, when time passes, and when a run fails."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import msgspec
import pytest
from dagster._core.test_utils import create_run_for_test

from podpower.collector.migration import migrate_objects
from podpower.hours import start_of_hour
from podpower.settings import AssetSettings
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import META, sealed
from podpower.sources.recording import Recording
from podpower.sources.writing import RecordingWriter
from podpower_assets.clusters import FIRST
from podpower_assets.labels.schedules import kepler_labels_hourly
from podpower_assets.model.missed_days import missed_days
from podpower_assets.model.schedules import knn_model_daily, model_evaluation_daily
from podpower_assets.partitions import hour_key, hour_start_s, hours_between
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.pending import Pending
from podpower_assets.specs.sensors import workload_changes
from podpower_assets.versions import BEGAN, INCOMPLETE
from tests.assets.conftest import DAY, HOURLY, HOURS

Tick = Callable[..., dg.SensorResult]


@pytest.fixture
def own_recording(recording: Path, tmp_path: Path) -> Path:
    root = tmp_path / "recording"
    shutil.copytree(recording, root)
    return root


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as empty:
        yield empty


@pytest.fixture
def tick(instance: dg.DagsterInstance, tmp_path: Path) -> Callable[..., dg.SensorResult]:
    """One look at a recording."""

    def look(root: Path, cursor: str | None = None) -> dg.SensorResult:
        return look_at(root, cursor, instance=instance, tables=tmp_path / "tables")

    return look


def look_at(root: Path, cursor: str | None, *, instance: dg.DagsterInstance, tables: Path) -> dg.SensorResult:
    resources = {"source": Source(recording=str(root)), "tables": Tables(root=str(tables))}
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
    result = workload_changes(AssetSettings())(context)
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> list[tuple[str, str]]:
    tags = [request.tags for request in result.run_requests or ()]
    return [(t["dagster/asset_partition_range_start"], t["dagster/asset_partition_range_end"]) for t in tags]


def test_the_first_tick_requests_all_hours_in_one_run_and_the_encoder_with_them(
    own_recording: Path, tick: Tick
) -> None:
    result = tick(own_recording)
    assert asked(result) == [(HOURS[0], HOURS[-1])]
    assert result.run_requests is not None
    selection = {key.to_user_string() for key in result.run_requests[0].asset_selection or ()}
    assert selection == {*HOURLY}


def test_nothing_is_requested_twice_and_a_change_requests_its_hour_only(own_recording: Path, tick: Tick) -> None:
    first = tick(own_recording)
    second = tick(own_recording, first.cursor)
    assert asked(second) == []
    recording = Recording(own_recording)
    event = next(iter(recording.events(start_s=recording.start_s, end_s=recording.end_s)))
    changed = type(event)(ts=recording.end_s - 60.0, type="MODIFIED", object=event.object)
    RecordingWriter(own_recording).events([changed])
    third = tick(own_recording, second.cursor)
    assert asked(third) == [(HOURS[-1], HOURS[-1])]
    assert asked(tick(own_recording, third.cursor)) == []


def test_the_running_hour_is_not_requested_again_while_its_run_waits(
    own_recording: Path, tick: Tick, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = start_of_hour(time.time()) + 1800.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    recording = Recording(own_recording)
    event = next(iter(recording.events(start_s=recording.start_s, end_s=recording.end_s)))
    pending = msgspec.json.decode(tick(own_recording).cursor or "", type=Pending)
    pending.last_s = now_s - 3600.0
    RecordingWriter(own_recording).events([type(event)(ts=now_s, type="DELETED", object=event.object)])
    sensor = {"dagster/sensor_name": "workload_changes"}
    waiting = create_run_for_test(instance, status=dg.DagsterRunStatus.NOT_STARTED, tags=sensor)
    second = tick(own_recording, msgspec.json.encode(pending).decode())
    assert asked(second) == []
    instance.report_run_canceled(waiting)
    assert asked(tick(own_recording, second.cursor)) == [(hour_key(now_s), hour_key(now_s))]


def test_a_tick_that_is_repeated_requests_the_same_run(own_recording: Path, tick: Tick) -> None:
    keys = [tick(own_recording).run_requests[0].run_key for _ in range(2)]  # type: ignore[index]
    assert keys[0] == keys[1]


def test_hours_that_wait_for_the_first_encoder_are_not_forgotten(
    own_recording: Path, tick: Tick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podpower_assets.partitions.PARTITIONS_A_RUN", 1)
    first = tick(own_recording)
    assert asked(first) == [(HOURS[-1], HOURS[-1])]
    assert asked(tick(own_recording, first.cursor)) == [(HOURS[0], HOURS[0])]


def test_the_cursor_of_an_earlier_version_is_the_position_in_the_source(own_recording: Path, tick: Tick) -> None:
    _, position = Recording(own_recording).changes(None)
    assert asked(tick(own_recording, position)) == []


class TestALiveCluster:
    """A journal in which nothing changes after its beginning, and the clock."""

    @pytest.fixture
    def journal(self, recording: Path, tmp_path: Path) -> Path:
        migrate_objects(Recording(recording), JournalFiles(tmp_path / "journal"))
        return tmp_path / "journal"

    @pytest.fixture
    def empty(self) -> Iterator[dg.DagsterInstance]:
        """An instance without history."""
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance

    @pytest.fixture
    def look(
        self, journal: Path, empty: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str, str | None], dg.SensorResult]:
        """One look at the journal at a time of 2026-01-01."""

        def at(clock: str, cursor: str | None) -> dg.SensorResult:
            monkeypatch.setattr(time, "time", lambda: seconds(clock))
            return look_at(journal, cursor, instance=empty, tables=tmp_path / "tables")

        return at

    def made(self, instance: dg.DagsterInstance, hour: str, *, at: str, incomplete: str = "") -> None:
        """Report the labels of an hour, whose making began at a time."""
        own = {BEGAN: dg.MetadataValue.float(seconds(at)), INCOMPLETE: incomplete}
        instance.report_runless_asset_event(
            dg.AssetMaterialization("kepler_labels", partition=hour_key(seconds(hour)), metadata=own)
        )

    def test_an_hour_that_its_schedule_missed_is_requested_once(
        self, look: Callable[[str, str | None], dg.SensorResult], empty: dg.DagsterInstance
    ) -> None:
        cursor = look("11:20", None).cursor
        for hour, at in (("10:00", "11:07"), ("11:00", "12:07"), ("12:00", "12:50")):
            self.made(empty, hour, at=at)
        # Dagster was down from 12:55 to 18:20: its schedule requests the last hour, 17:00, only.
        late = look("18:20", cursor)
        assert asked(late) == [(hour_key(seconds("12:00")), hour_key(seconds("16:00")))]
        assert asked(look("18:21", late.cursor)) == []

    def test_hours_that_were_made_after_their_end_are_not_requested(
        self, look: Callable[[str, str | None], dg.SensorResult], empty: dg.DagsterInstance
    ) -> None:
        cursor = look("11:20", None).cursor
        for hour in (10, 11, 12, 13):
            self.made(empty, f"{hour}:00", at=f"{hour + 1}:07")
            result = look(f"{hour + 1}:30", cursor)
            assert asked(result) == []
            cursor = result.cursor

    def test_an_hour_with_incomplete_labels_is_requested_four_times_after_longer_waits(
        self, look: Callable[[str, str | None], dg.SensorResult], empty: dg.DagsterInstance
    ) -> None:
        self.made(empty, "10:00", at="11:07")
        cursor = look("11:20", None).cursor
        found = []
        for minutes in range(12 * 60 + 10, 72 * 60, 10):
            clock = f"{minutes // 60:02}:{minutes % 60:02}"
            if minutes % 60 == 10:
                hour = minutes // 60 - 1
                self.made(empty, f"{hour}:00", at=clock, incomplete="60 minutes" if hour in {11, 12} else "")
            result = look(clock, cursor)
            cursor = result.cursor
            for first, last in asked(result):
                for hour in hours_between(hour_start_s(first), hour_start_s(last) + 1):
                    found.append((hour[-5:], clock))
                    self.made(empty, hour[-5:], at=clock, incomplete="60 minutes")  # the samples have not come
        assert found == [
            ("11:00", "12:30"), ("11:00", "13:30"), ("12:00", "13:30"), ("12:00", "14:30"),
            ("11:00", "19:30"), ("12:00", "20:30"), ("11:00", "43:30"), ("12:00", "44:30"),
        ]  # fmt: skip

    def test_an_hour_whose_late_samples_came_is_not_requested_again(
        self, look: Callable[[str, str | None], dg.SensorResult], empty: dg.DagsterInstance
    ) -> None:
        self.made(empty, "10:00", at="11:07")
        cursor = look("11:20", None).cursor
        self.made(empty, "11:00", at="12:07", incomplete="20 minutes without a known label")
        again = look("12:25", cursor)
        assert asked(again) == [(hour_key(seconds("11:00")), hour_key(seconds("11:00")))]
        self.made(empty, "11:00", at="12:26")
        assert asked(look("14:20", again.cursor)) == [(hour_key(seconds("12:00")), hour_key(seconds("12:00")))]

    def test_a_journal_that_was_begun_anew_is_read_from_its_beginning(
        self, look: Callable[[str, str | None], dg.SensorResult], journal: Path, recording: Path
    ) -> None:
        cursor = look("11:20", None).cursor
        shutil.rmtree(journal)
        migrate_objects(Recording(recording), JournalFiles(journal))
        meta = JournalFiles(journal).meta()
        assert meta is not None
        (journal / META).write_bytes(sealed(msgspec.structs.replace(meta, journal_id="another")))
        anew = look("11:30", cursor)
        assert asked(anew) == [(HOURS[0], HOURS[-1])]
        assert '"another' in msgspec.json.decode(anew.cursor or "", type=Pending).source  # type: ignore[operator]
        assert asked(look("11:31", anew.cursor)) == []


def seconds(clock: str) -> float:
    """Return a time of 2026-01-01, or so many hours after its begin, as Unix seconds."""
    hours, minutes = map(int, clock.split(":"))
    return datetime.fromisoformat(f"{DAY}T00:00:00+00:00").timestamp() + 3600.0 * hours + 60.0 * minutes


def test_the_evaluation_of_each_day_that_was_missed_is_requested_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(clock: str, cursor: str | None) -> tuple[list[str | None], str | None]:
        monkeypatch.setattr(time, "time", lambda: datetime.fromisoformat(f"{clock}+00:00").timestamp())
        result = missed_days(AssetSettings())(dg.build_sensor_context(instance=instance, cursor=cursor))
        assert isinstance(result, dg.SensorResult)
        return [request.partition_key for request in result.run_requests or ()], result.cursor

    def evaluated(day: str) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization("model_evaluation", partition=day))

    evaluated("2026-01-01")
    first, cursor = look("2026-01-02T12:00", None)
    assert first == []
    # Dagster was down for seven days: its schedule requests the last one only.
    back, cursor = look("2026-01-09T12:00", cursor)
    assert back == []
    running = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, job_name="served_day")
    assert look("2026-01-09T12:15", cursor)[0] == []
    instance.report_run_canceled(running)
    evaluated("2026-01-08")
    found = []
    for minute in range(30, 60, 10):
        days, cursor = look(f"2026-01-09T12:{minute}", cursor)
        found += days
        for day in days:
            evaluated(str(day))
    assert found == [f"2026-01-{day:02}" for day in range(2, 8)]


def test_an_evaluation_that_fails_is_requested_again_after_longer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the schedule or this sensor requested it; it was never made, and nothing but the failed run said so."""
    found, cursor = [], None
    with dg.DagsterInstance.ephemeral() as empty:
        for hour in range(12, 72):
            now_s = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 3600.0 * hour
            monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
            result = missed_days(AssetSettings())(dg.build_sensor_context(instance=empty, cursor=cursor))
            assert isinstance(result, dg.SensorResult)
            cursor = result.cursor
            found += [(request.partition_key, hour, request.run_key) for request in result.run_requests or ()]
            if hour >= 60:
                for day in ("2026-01-01", "2026-01-02"):
                    empty.report_runless_asset_event(dg.AssetMaterialization("model_evaluation", partition=day))
    days = [(day, hour) for day, hour, _ in found]
    assert days == [("2026-01-01", 31), ("2026-01-01", 32), ("2026-01-01", 38), ("2026-01-02", 55), ("2026-01-02", 56)]
    assert len({key for _, _, key in found}) == len(found)


def test_without_a_recording_the_reason_is_shown_and_the_cursor_kept(tmp_path: Path, tick: Tick) -> None:
    result = tick(tmp_path / "nowhere", "cursor")
    assert asked(result) == []
    assert "no recording at" in str(result.skip_reason)
    assert result.cursor == "cursor"


@pytest.mark.parametrize(
    ("schedule", "at", "partition"),
    [
        (kepler_labels_hourly(FIRST), datetime(2026, 1, 1, 10, 7, tzinfo=UTC), "2026-01-01-09:00"),
        (kepler_labels_hourly(FIRST), datetime(2026, 1, 1, 0, 7, tzinfo=UTC), "2025-12-31-23:00"),
        (knn_model_daily, datetime(2026, 1, 2, 0, 25, tzinfo=UTC), "2026-01-01"),
        (model_evaluation_daily, datetime(2026, 1, 2, 0, 35, tzinfo=UTC), "2026-01-01"),
    ],
    ids=["an hour", "the last hour of a day", "a day", "a served day"],
)
def test_schedules_request_what_just_ended(schedule: dg.ScheduleDefinition, at: datetime, partition: str) -> None:
    context = dg.build_schedule_context(scheduled_execution_time=at)
    request = schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == partition
