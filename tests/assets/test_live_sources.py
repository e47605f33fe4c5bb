"""The assets on a live cluster and its Prometheus instead of a recording."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import msgspec
import pytest
import stamina

from podpower.hours import HOUR_S, start_of_hour
from podpower.settings import AssetSettings, Settings
from podpower_assets.partitions import hour_key
from podpower_assets.resources import Source, resources_from
from podpower_assets.specs.pending import Pending
from podpower_assets.specs.sensors import workload_changes
from tests.assets.conftest import Place
from tests.clusters.collecting import Collector
from tests.clusters.living import Living, living
from tests.clusters.objects import deployment
from tests.clusters.prometheus import need_prometheus


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    need_prometheus()
    with living(tmp_path_factory.mktemp("lived"), hours=3) as running:
        yield running


@pytest.fixture(scope="module")
def lived_journal(lived: Living, tmp_path_factory: pytest.TempPathFactory) -> Collector:
    folder = tmp_path_factory.mktemp("journal")
    collector = Collector(lived.cluster, folder / "journal", folder)
    collector.collect()
    return collector


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podpower_assets.policies._RETRY_SECONDS", 0)
    monkeypatch.setattr("podpower_assets.policies.MAX_RETRIES", 0)


@pytest.fixture
def place(lived: Living, lived_journal: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("PODPOWER_PROMETHEUS_URL", lived.prometheus_url)
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")  # assets and sensors read the journal only
    with dg.instance_for_test() as instance:
        yield Place(instance, lived_journal.url, tmp_path)


def tick(place: Place, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(
        instance=place.instance, cursor=cursor, resources={"source": place.source, "tables": place.tables}
    )
    result = workload_changes(AssetSettings())(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_sensor_requests_the_last_hours_and_then_the_hour_of_a_change(
    place: Place, lived: Living, lived_journal: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = start_of_hour(time.time()) + HOUR_S / 2  # two minutes of an hour pass before it is requested
    monkeypatch.setattr(time, "time", lambda: now_s)
    first = tick(place)
    assert first.run_requests is not None
    [request] = first.run_requests
    assert request.tags["dagster/asset_partition_range_end"] == hour_key(now_s)
    rest = tick(place, first.cursor)  # a run has 24 hours at most, and these are 25
    quiet = tick(place, rest.cursor)
    assert not quiet.run_requests
    lived.cluster.add(deployment(f"new-{time.monotonic_ns()}"))
    lived_journal.collect()
    changed = tick(place, quiet.cursor)
    assert not changed.run_requests  # the running hour was requested moments ago
    pending = msgspec.json.decode(changed.cursor or "", type=Pending)
    assert hour_key(now_s) in pending.hours
    assert pending.new_specs is not None
    earlier = msgspec.structs.replace(pending, last_s=0.0, new_specs=(0.0, 0.0))
    due = tick(place, msgspec.json.encode(earlier).decode())
    assert due.run_requests is not None
    assert due.run_requests[0].tags["dagster/asset_partition_range_end"] == hour_key(now_s)


def test_hours_before_podpower_came_are_labelled_with_the_templates_that_still_live(place: Place) -> None:
    hour_s = time.time() // 3600 * 3600 - 3600
    hour = hour_key(hour_s)
    hourly = ("workload_specs", "encoder", "features", "kepler_labels", "training_rows")
    result = place.materialize(*hourly, first=hour)
    assert result.success
    labels = place.tables.read("kepler_labels", hour)
    rows = place.tables.read("training_rows", hour)
    assert labels is not None
    assert rows is not None
    assert labels["energy_step_j"].is_not_null().mean() > 0.9  # type: ignore[operator]
    assert set(labels["cluster"]) == {"test-cluster"}
    assert rows["_spec_hash"].n_unique() > 10


def test_of_a_range_the_hours_without_kepler_are_empty_and_fail_their_check(place: Place) -> None:
    now_s = time.time()
    before, after = hour_key(now_s - 6 * 3600), hour_key(now_s - 3600)
    result = place.materialize("workload_specs", "kepler_labels", first=before, last=after)
    assert result.success
    failed = {
        e.partition for e in result.get_asset_check_evaluations() if e.check_name == "hour_has_labels" and not e.passed
    }
    assert before in failed
    assert after not in failed
    empty, full = place.tables.read("kepler_labels", before), place.tables.read("kepler_labels", after)
    assert empty is not None
    assert full is not None
    assert len(empty) == 0
    assert len(full) > 0
    assert empty.schema == full.schema


def test_a_prometheus_that_is_away_is_tried_again_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODPOWER_PROMETHEUS_URL", "http://127.0.0.1:9")
    with stamina.set_testing(True):  # one attempt
        result = place.materialize("kepler_labels", first=hour_key(time.time() - 3600))
    assert not result.success
    assert "cannot be reached" in str([event.message for event in result.all_events if event.is_step_failure]) or any(
        "cannot be reached" in str(event.event_specific_data) for event in result.all_events
    )


def test_without_a_journal_the_sensor_names_the_collector_and_leaves_the_cursor(place: Place, tmp_path: Path) -> None:
    place.source = Source(recording=str(tmp_path / "nowhere"))
    result = tick(place, "cursor")
    assert "podpower collect watch --journal" in str(result.skip_reason)
    assert result.cursor == "cursor"


def test_a_journal_that_nobody_writes_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    later_s = start_of_hour(time.time()) + 1.5 * HOUR_S  # while no hour ends, or becomes due
    monkeypatch.setattr(time, "time", lambda: later_s)
    cursor = tick(place, tick(place).cursor).cursor
    result = tick(place, cursor)
    assert "minutes old: look at the collector" in str(result.skip_reason)


def test_what_dagster_stores_holds_no_credentials() -> None:
    environment = {
        "PODPOWER_HOME": "/data",
        "PODPOWER_PROMETHEUS_URL": "http://user:hunter2@prom",
        "PODPOWER_PROMETHEUS_TOKEN": "s3cret",
    }
    source = resources_from(Settings(environment))["source"]
    assert isinstance(source, Source)
    assert source.recording == "/data/journal"
    assert "hunter2" not in repr(source)
    assert "s3cret" not in repr(source)
