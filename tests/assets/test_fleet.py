"""Two clusters, of which the Prometheus of one is down for an hour, and their fleet summary."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
import stamina
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.test_utils import create_run_for_test

from podpower.collector.migration import migrate_objects
from podpower.fleet.summary import FleetSummary, read_summary
from podpower.settings import AssetSettings
from podpower.sources.journal.files import JournalFiles
from podpower.sources.recording import Recording
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.definitions import assets, defs
from podpower_assets.fleet import sensors
from podpower_assets.fleet.assets import upstream_of
from podpower_assets.fleet.sensors import fleet_changes
from podpower_assets.fleet.stale_hours import stale_hours
from podpower_assets.labels.schedules import HOURLY_ASSETS
from podpower_assets.partitions import hour_key, hour_start_s
from podpower_assets.resources import Models, Source, Tables
from podpower_assets.versions import CONSUMED, recorded
from tests.assets.conftest import DAY, HOURS, Place

TWO = (FIRST, Cluster("edge"))
TABLES = ("workload_specs", "kepler_labels", "job_labels")


class Fleet:
    """Two clusters from copies of one recording, in one home."""

    def __init__(self, instance: dg.DagsterInstance, home: Path) -> None:
        self.instance, self.home, self.clusters = instance, home, TWO
        self.resources = {
            "source": Source(recording=str(home / "first")),
            "tables": Tables(root=str(home / "tables")),
            "models": Models(root=str(home / "models")),
        }

    def has(self, *, recording: Path | None = None, prometheus: str | None = None) -> None:
        """Write the file of clusters: `edge` is a recording, or a live cluster with this Prometheus, or without one."""
        edge = f"recording: {recording}" if recording else "context: none"
        edge += f", prometheus: {{url: '{prometheus}'}}" if prometheus else ""
        text = f"clusters: [{{name: home, recording: {self.home / 'first'}}}, {{name: edge, {edge}}}]"
        (self.home / "clusters.yaml").write_text(text)

    def run(self, keys: list[dg.AssetKey], *hours: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            assets(AssetSettings(), self.clusters),
            selection=keys,
            instance=self.instance,
            tags={"dagster/asset_partition_range_start": hours[0], "dagster/asset_partition_range_end": hours[-1]},
            resources=self.resources,
            raise_on_error=False,
        )

    def summary(self) -> FleetSummary:
        found = read_summary(self.home / "models")
        assert found is not None
        return found


@contextlib.contextmanager
def opened(home: Path) -> Iterator[Fleet]:
    """Open the fleet of a home, whose history is in its folder `dagster`."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
        patch.setattr("podpower_assets.policies._RETRY_SECONDS", 0)
        patch.setattr("podpower_assets.policies.MAX_RETRIES", 0)
        patch.setattr("podpower_assets.versions._KNOWN", {})  # copies of a history give the same ids to other events
        patch.setenv("PODPOWER_CLUSTERS", str(home / "clusters.yaml"))
        patch.setenv("PODPOWER_HOME", str(home))
        yield Fleet(instance, home)


@pytest.fixture(scope="module")
def down(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of everything of two clusters and two hours, and the model of both, made once; in the second hour the
    Prometheus of `edge` is down.
    """
    home = tmp_path_factory.mktemp("fleet")
    shutil.copytree(recording, home / "first")
    migrate_objects(Recording(recording), JournalFiles(home / "clusters" / "edge" / "journal"))
    (home / "dagster").mkdir()
    with opened(home) as made:
        keys = [cluster.key(name) for cluster in TWO for name in HOURLY_ASSETS]
        made.has(recording=recording)
        assert made.run([*keys, dg.AssetKey("encoder")], HOURS[0]).success
        made.has(prometheus="http://127.0.0.1:9")
        with stamina.set_testing(True):  # one attempt
            failed = made.run(keys, HOURS[1])
        down = {event.step_key for event in failed.all_events if event.is_step_failure}
        assert down == {"edge__kepler_labels", "edge__job_labels"}
        assert made.run([dg.AssetKey("knn_model"), dg.AssetKey("promoted_model")], DAY).success
        assert made.run([dg.AssetKey("fleet_summary")], *HOURS[:2]).success
    return home


@pytest.fixture
def fleet(down: Path, tmp_path: Path) -> Iterator[Fleet]:
    """A copy of it, which a test can change."""
    shutil.copytree(down, tmp_path / "home")
    with opened(tmp_path / "home") as copy:
        copy.has(prometheus="http://127.0.0.1:9")
        yield copy


def test_a_prometheus_that_is_down_stops_no_other_cluster(fleet: Fleet) -> None:
    tables = fleet.resources["tables"]
    assert isinstance(tables, Tables)
    assert tables.partitions("training_rows") == HOURS[:2]
    assert tables.of(TWO[1]).partitions("training_rows") == HOURS[:1]


def test_the_model_learns_from_both_clusters(fleet: Fleet) -> None:
    model = fleet.summary().model
    assert model is not None
    assert model.clusters == ["edge", "home"]
    assert model.evaluation


def test_the_summary_has_both_clusters_each_with_its_own_hours(fleet: Fleet) -> None:
    found = fleet.summary()
    edge, home = found.clusters
    assert (edge.cluster, home.cluster) == ("edge", "home")
    assert [value is None for value in edge.series.measured_w] == [False, True]
    assert None not in home.series.measured_w
    assert edge.series.measured_w[0] == pytest.approx(home.series.measured_w[0], rel=0.02)
    assert None not in edge.series.predicted_w  # the model of both predicts what ran
    assert home.journal_reached_s is not None
    for one in found.clusters:
        assert one.metered
        assert one.measured_w is not None
        assert one.predicted_interval is not None
        assert one.predicted_w is not None
        assert 0.2 < one.measured_w / one.predicted_w < 5
    assert {space.cluster for space in found.namespaces} == {"edge", "home"}
    assert {work.basis for work in found.workloads} >= {"seen"}


def test_the_error_of_a_cluster_is_that_of_its_last_run(fleet: Fleet) -> None:
    edge, home = fleet.summary().clusters
    assert f"kepler_labels of {HOURS[1]}: " in (edge.last_error or "")
    assert "cannot be reached" in (edge.last_error or "")
    assert home.last_error is None


@pytest.mark.parametrize("check", ["every_cluster_is_there", "sums_add_up"])
def test_each_hour_has_its_own_check_result(fleet: Fleet, check: str) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("fleet_summary"), check)
    infos = fleet.instance.event_log_storage.get_asset_check_partition_info([key], partition_keys=HOURS[:2])
    made = AssetCheckExecutionRecordStatus.SUCCEEDED
    found = {str(info.partition_key): info.latest_execution_status for info in infos}
    assert found == dict.fromkeys(HOURS[:2], made)


def test_a_run_for_an_older_hour_keeps_the_newer_content(fleet: Fleet) -> None:
    before = fleet.summary()
    assert fleet.run([dg.AssetKey("fleet_summary")], HOURS[0]).success
    after = fleet.summary()
    assert (after.start_s, after.end_s) == (before.start_s, before.end_s)
    assert [c.measured_w for c in after.clusters] == [c.measured_w for c in before.clusters]


def test_a_late_hour_is_folded_in(fleet: Fleet, recording: Path) -> None:
    fleet.has(recording=recording)
    keys = [TWO[1].key(name) for name in HOURLY_ASSETS]
    assert fleet.run(keys, HOURS[1]).success
    assert fleet.run([dg.AssetKey("fleet_summary")], HOURS[1]).success
    edge, home = fleet.summary().clusters
    assert edge.series.measured_w == pytest.approx(home.series.measured_w, rel=0.02)
    assert edge.kwh == pytest.approx(home.kwh, rel=0.02)
    assert edge.last_error is None


def test_a_damaged_table_of_one_cluster_is_its_error(fleet: Fleet) -> None:
    tables = fleet.resources["tables"]
    assert isinstance(tables, Tables)
    path = Path(str(tables.of(TWO[1]).path("workload_specs", HOURS[1])))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    try:
        assert fleet.run([dg.AssetKey("fleet_summary")], HOURS[1]).success
        edge, home = fleet.summary().clusters
        assert "is damaged" in (edge.last_error or "")
        assert home.last_error is None
        assert [value is None for value in edge.series.measured_w] == [False, True]
    finally:
        path.write_bytes(whole)
    # The table comes back with the content that Dagster knows; the summary was made without it.
    assert stale_hours(fleet.instance, upstream_of(TWO).unchecked, HOURS[:2]) == [HOURS[1]]


def test_an_hour_without_a_lost_table_is_stale_until_it_is_back(fleet: Fleet) -> None:
    tables, upstream = fleet.resources["tables"], upstream_of(TWO).unchecked
    assert isinstance(tables, Tables)
    path = Path(str(tables.of(TWO[1]).path("kepler_labels", HOURS[0])))
    whole = path.read_bytes()
    path.unlink()
    assert fleet.run([dg.AssetKey("fleet_summary")], *HOURS[:2]).success
    path.write_bytes(whole)
    assert stale_hours(fleet.instance, upstream, HOURS[:2]) == [HOURS[0]]
    assert fleet.run([dg.AssetKey("fleet_summary")], HOURS[0]).success
    assert stale_hours(fleet.instance, upstream, HOURS[:2]) == []


def test_the_definitions_have_the_clusters_of_the_file(fleet: Fleet) -> None:
    keys = {key.to_user_string() for key in defs().resolve_asset_graph().get_all_asset_keys()}
    assert {"workload_specs", "edge/workload_specs", "fleet_summary"} <= keys


def test_a_cluster_without_a_prometheus_is_predicted_and_says_so(fleet: Fleet, tmp_path: Path) -> None:
    fleet.has()
    alone, edge = Fleet(fleet.instance, fleet.home), Cluster("edge", has_meter=False)
    alone.clusters = (FIRST, edge)
    alone.resources |= {"tables": Tables(root=str(tmp_path / "tables"))}
    assert alone.run([edge.key("workload_specs")], HOURS[0]).success
    assert alone.run([dg.AssetKey("fleet_summary")], HOURS[0]).success
    found = next(one for one in alone.summary().clusters if one.cluster == "edge")
    assert (found.cluster, found.metered, found.measured_w) == ("edge", False, None)
    assert found.predicted_w is not None
    assert found.notes[0].startswith("no meter in cluster edge that the model learned from: predicted from edge, home")


class TestTheSensor:
    """Ticks of `fleet_changes` against events of an instance."""

    @pytest.fixture
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.instance_for_test() as instance:
            yield instance

    def tick(self, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = fleet_changes(TWO)(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def report(self, instance: dg.DagsterInstance, *hours: str, cluster: Cluster = FIRST) -> None:
        for hour in hours:
            instance.report_runless_asset_event(dg.AssetMaterialization(cluster.key("kepler_labels"), partition=hour))

    def made(self, instance: dg.DagsterInstance, *hours: str) -> None:
        """Report that the summary of these hours was made from the labels of now."""
        for hour in hours:
            labels = recorded(instance, dg.AssetKey("kepler_labels"), [hour])[hour]
            consumed = dg.MetadataValue.json({"kepler_labels": {hour: labels.version}})
            own = dg.AssetMaterialization("fleet_summary", partition=hour, metadata={CONSUMED: consumed})
            instance.report_runless_asset_event(own)

    def requested(self, result: dg.SensorResult) -> list[tuple[str, str]]:
        tags = [request.tags for request in result.run_requests or ()]
        return [(t["dagster/asset_partition_range_start"], t["dagster/asset_partition_range_end"]) for t in tags]

    def settled(self, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
        """The second of two ticks between which nothing changed."""
        first = self.tick(instance, cursor)
        return first if first.run_requests else self.tick(instance, first.cursor)

    def test_each_change_is_requested_once(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sensors, "EVERY_S", 0.0)
        assert self.requested(self.settled(instance, None)) == []
        now_s = time.time()
        now, before = hour_key(now_s), hour_key(now_s - 3600)
        self.report(instance, before, now)
        first = self.settled(instance, None)
        assert self.requested(first) == [(before, now)]
        self.made(instance, before, now)
        assert self.requested(self.settled(instance, first.cursor)) == []
        self.report(instance, before, cluster=TWO[1])
        late = self.settled(instance, first.cursor)
        assert self.requested(late) == [(before, before)]

    def test_a_table_that_was_made_again_with_the_same_content_is_not_followed(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sensors, "EVERY_S", 0.0)
        now, labels = hour_key(time.time()), dg.AssetKey("kepler_labels")
        made = dg.AssetMaterialization(labels, partition=now, tags={DATA_VERSION_TAG: "a"})
        consumed = dg.MetadataValue.json({"kepler_labels": {now: "a"}})
        own = dg.AssetMaterialization("fleet_summary", partition=now, metadata={CONSUMED: consumed})
        for event in (made, own, made):
            instance.report_runless_asset_event(event)
        same = self.settled(instance, None)
        assert self.requested(same) == []
        instance.report_runless_asset_event(made._replace(tags={DATA_VERSION_TAG: "b"}))
        assert self.requested(self.settled(instance, same.cursor)) == [(now, now)]

    def test_an_hour_that_its_run_did_not_make_is_requested_again_ever_more_rarely(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began_s = time.time()
        old = hour_key(began_s - 50 * 3600)

        def at(minutes: float, cursor: str | None) -> dg.SensorResult:
            monkeypatch.setattr(time, "time", lambda: began_s + 60 * minutes)
            return self.tick(instance, cursor)

        self.report(instance, old)
        first = at(1, at(0, None).cursor)
        assert self.requested(first) == [(old, old)]
        result, requests = first, []
        for minutes in range(2, 10 * 60):
            result = at(minutes, result.cursor)
            requests += [(minutes, request.run_key) for request in result.run_requests or ()]
        assert [minutes for minutes, _ in requests] == [16, 76, 436]
        assert first.run_requests is not None
        assert len({first.run_requests[0].run_key, *(key for _, key in requests)}) == 4
        self.made(instance, old)
        assert self.requested(at(48 * 60, result.cursor)) == []

    def test_an_hour_that_was_seen_made_is_not_looked_at_again(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sensors, "EVERY_S", 0.0)
        looked: list[list[str]] = []

        def noted(instance: dg.DagsterInstance, upstream: Sequence[dg.AssetKey], hours: Sequence[str]) -> list[str]:
            looked.append(list(hours))
            return stale_hours(instance, upstream, hours)

        monkeypatch.setattr(sensors, "stale_hours", noted)
        now_s = time.time()
        now, before = hour_key(now_s), hour_key(now_s - 3600)
        self.report(instance, before, now)
        result = self.settled(instance, None)
        self.made(instance, before)
        looked.clear()
        for _ in range(3):
            result = self.tick(instance, result.cursor)
        assert [before, now] in looked
        assert looked.count([before, now]) == 1
        assert [now] in looked

    def test_an_hour_whose_run_goes_on_is_not_requested_again(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sensors, "EVERY_S", 0.0)
        now = hour_key(time.time())
        self.report(instance, now)
        first = self.settled(instance, None)
        assert self.requested(first) == [(now, now)]
        own = {"dagster/sensor_name": "fleet_changes"}
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=own)
        second = self.tick(instance, first.cursor)
        assert self.requested(second) == []
        instance.report_run_failed(run)
        assert self.requested(self.tick(instance, second.cursor)) == [(now, now)]

    def test_an_hour_whose_tables_are_being_made_waits(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = hour_key(time.time())
        self.report(instance, now)
        first = self.tick(instance, None)
        assert self.requested(first) == []
        self.report(instance, now, cluster=TWO[1])
        second = self.tick(instance, first.cursor)
        assert self.requested(second) == []
        third = self.tick(instance, second.cursor)
        assert self.requested(third) == [(now, now)]
        self.report(instance, now)
        monkeypatch.setattr(sensors, "EVERY_S", 1e-6)  # not for ever
        assert self.requested(self.tick(instance, third.cursor)) == [(now, now)]

    def test_distant_hours_do_not_request_what_is_between(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sensors, "EVERY_S", 0.0)
        now_s = hour_start_s(hour_key(time.time()))
        old, now = hour_key(now_s - 50 * 3600), hour_key(now_s)
        self.report(instance, old, now)
        assert self.requested(self.settled(instance, None)) == [(old, old), (now, now)]

    def test_changes_within_a_quarter_of_an_hour_share_a_run(self, instance: dg.DagsterInstance) -> None:
        now = hour_key(time.time())
        self.report(instance, now)
        first = self.settled(instance, None)
        assert self.requested(first) == [(now, now)]
        self.report(instance, now)
        assert self.requested(self.settled(instance, first.cursor)) == []


def test_a_home_of_one_cluster_needs_neither_a_file_nor_a_model(place: Place) -> None:
    assert place.materialize("workload_specs", "kepler_labels", "job_labels", first=HOURS[0]).success
    assert place.materialize("fleet_summary", first=HOURS[0]).success
    found = read_summary(place.models.root)
    assert found is not None
    [only] = found.clusters
    assert (only.metered, only.predicted_w, found.model) == (True, None, None)
    assert only.cluster == Recording(place.source.recording).cluster


def test_an_hour_with_a_damaged_table_is_one_of_the_same_cluster(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was that of a cluster named "cluster", whose workloads counted beside those of the real one."""
    monkeypatch.delenv("PODPOWER_CLUSTERS", raising=False)
    assert place.materialize("workload_specs", "kepler_labels", "job_labels", first=HOURS[0], last=HOURS[1]).success
    path = Path(str(place.tables.path("kepler_labels", HOURS[1])))
    path.write_bytes(path.read_bytes()[:-9])
    assert place.materialize("fleet_summary", first=HOURS[0], last=HOURS[1]).success
    found = read_summary(place.models.root)
    assert found is not None
    assert [one.cluster for one in found.clusters] == [Recording(place.source.recording).cluster]
    assert "is damaged" in (found.clusters[0].last_error or "")
