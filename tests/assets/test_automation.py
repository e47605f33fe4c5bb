"""Changes are carried downstream, whichever hour they were in, and none is lost; models follow for the latest day."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus

from podpower.evaluation.checks import MODEL_CHECKS
from podpower_assets.fleet.sensors import EVERY_S
from podpower_assets.partitions import day_key, hour_key, range_tags
from podpower_assets.specs.pending import Pending
from podpower_assets.versions import CONSUMED, NEW_SPECS
from tests.assets.conftest import ASSETS, DEFS, PARTITIONS

# The last noon: at night its hour is yesterday's, since an hour that has not begun has no partition.
NOON = (datetime.now(UTC) - timedelta(hours=12, minutes=4)).replace(hour=12, minute=3, second=0, microsecond=0)
TODAY = day_key(NOON.timestamp())
NOW, OLD = hour_key(NOON.timestamp()), hour_key((NOON - timedelta(hours=100)).timestamp())
FIRST_ROWS = {"features", "kepler_labels", "job_labels"}


@dataclass
class Platform:
    """An instance in which materializations are reported, and conditions evaluated at simulated times."""

    instance: dg.DagsterInstance
    cursor: object = None
    versions: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def report(
        self, name: str, partition: str | None, version: str = "", *, new_specs: str = "",
        consumed: dict[str, dict[str, str]] | None = None,
    ) -> None:  # fmt: skip
        """Record a materialization, which consumed what was there unless it is given."""
        version = version or f"{name}-{partition}"
        consumed = self.consumed(name, partition) if consumed is None else consumed
        metadata: dict[str, object] = {CONSUMED: dg.MetadataValue.json(consumed)}
        if new_specs:
            metadata[NEW_SPECS] = new_specs
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                name, partition=partition, metadata=metadata, tags={"dagster/data_version": version}
            )
        )
        self.versions[name, partition] = version

    def consumed(self, name: str, partition: str | None) -> dict[str, dict[str, str]]:
        """What there is now of the upstream of a partition."""
        parents = {key.to_user_string() for key in DEFS.resolve_asset_graph().get(dg.AssetKey(name)).parent_keys}
        found: dict[str, dict[str, str]] = {}
        for (asset, key), version in self.versions.items():
            if asset in parents and (name == "knn_model" or key in {partition, None}):
                found.setdefault(asset, {})[key or ""] = version
        return found

    def check(self, asset: str, name: str, partition: str | None, *, passed: bool) -> None:
        """Record the result of a check, as of a run of its own."""
        result = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset), check_name=name, passed=passed, partition=partition, blocking=True
        )
        event = dg.DagsterEvent("ASSET_CHECK_EVALUATION", "checks", event_specific_data=result)
        self.instance.report_dagster_event(event, run_id=str(uuid.uuid4()))

    def hour(self, hour: str, version: str = "") -> None:
        """All assets of an hour, up to date."""
        for name in ("workload_specs", "features", "kepler_labels", "job_labels", "training_rows"):
            self.report(name, hour, f"{name}-{hour}-{version}")

    def asked(self, at: datetime = NOON, *only: str) -> dict[str, set[str | None]]:
        """What is requested at a time; of some assets only, which is quicker."""
        selection = dg.AssetSelection.assets(*only) if only else None
        result = dg.evaluate_automation_conditions(
            defs=DEFS, instance=self.instance, cursor=self.cursor, evaluation_time=at, asset_selection=selection
        )
        self.cursor = result.cursor
        keys = {asset.key: result.get_requested_partitions(asset.key) for asset in ASSETS}
        return {key.to_user_string(): set(partitions) for key, partitions in keys.items() if partitions}


@pytest.fixture
def platform() -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Platform(instance)
        made.report("encoder", None, "e1")
        yield made


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def test_an_empty_instance_requests_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        empty = Platform(instance)
        assert empty.asked() == {}
        assert empty.asked(minutes(1)) == {}


def test_nothing_is_requested_when_nothing_changed(platform: Platform) -> None:
    platform.hour(OLD)
    platform.hour(NOW)
    platform.report("knn_model", TODAY)
    platform.report("promoted_model", TODAY)
    for minute in (0, 20, 61):
        assert platform.asked(minutes(minute)) == {}


def test_a_partition_made_again_with_the_same_content_changes_nothing(platform: Platform) -> None:
    platform.hour(NOW)
    platform.report("knn_model", TODAY)
    platform.report("promoted_model", TODAY)
    platform.hour(NOW)
    assert platform.asked() == {}


def test_a_corrected_old_hour_is_one_run_down_to_its_rows_and_then_the_model_of_today(platform: Platform) -> None:
    platform.hour(OLD)
    platform.report("knn_model", TODAY)
    platform.report("promoted_model", TODAY)
    platform.report("workload_specs", OLD, "corrected")
    assert platform.asked() == {name: {OLD} for name in (*FIRST_ROWS, "training_rows")}
    for name in (*sorted(FIRST_ROWS), "training_rows"):
        platform.report(name, OLD, f"corrected {name}")
    assert platform.asked(minutes(1)) == {"knn_model": {TODAY}, "promoted_model": {TODAY}}


def test_materializations_of_earlier_versions_are_compared_by_their_order(platform: Platform) -> None:
    """They have no record of what they consumed."""
    for name in ("workload_specs", *sorted(FIRST_ROWS), "training_rows"):
        platform.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=OLD))
    assert platform.asked() == {"knn_model": {TODAY}, "promoted_model": {TODAY}}
    platform.instance.report_runless_asset_event(dg.AssetMaterialization("kepler_labels", partition=OLD))
    assert platform.asked(minutes(1)) == {"training_rows": {OLD}}


def test_an_update_that_arrives_while_a_run_is_in_progress_is_not_lost(platform: Platform) -> None:
    """The run consumed what was there before; it ends, and is recorded, after the update."""
    platform.hour(NOW)
    before = platform.consumed("training_rows", NOW)
    assert "training_rows" not in platform.asked()
    platform.report("kepler_labels", NOW, "update")
    platform.report("training_rows", NOW, "made from what was before", consumed=before)
    assert platform.asked(minutes(1))["training_rows"] == {NOW}


def test_an_update_in_the_very_tick_in_which_the_asset_itself_is_updated_is_not_lost(platform: Platform) -> None:
    """`any_deps_updated().since_last_handled()` forgets it: dagster issues 33587, 34067."""
    platform.hour(NOW)
    assert platform.asked().get("training_rows") is None
    stale = platform.consumed("training_rows", NOW)
    platform.report("features", NOW, "update")
    platform.report("training_rows", NOW, "late", consumed=stale)
    assert platform.asked(minutes(1))["training_rows"] == {NOW}


def test_a_lost_cursor_loses_no_update(platform: Platform) -> None:
    platform.hour(OLD)
    platform.asked()
    platform.report("kepler_labels", OLD, "update")
    platform.cursor = None
    assert platform.asked(minutes(1))["training_rows"] == {OLD}


def test_another_encoder_encodes_the_days_that_models_are_trained_on_again(platform: Platform) -> None:
    platform.hour(OLD)
    platform.hour(NOW)
    platform.report("encoder", None, "e2")
    asked = platform.asked()
    assert asked["features"] == asked["training_rows"] == {OLD, NOW}
    assert "kepler_labels" not in asked


def run_of(platform: Platform, names: list[str], partition: str, status: DagsterRunStatus) -> dg.DagsterRun:
    job = DEFS.resolve_implicit_global_asset_job_def()
    return platform.instance.create_run_for_job(
        job, status=status, asset_selection=frozenset(dg.AssetKey(name) for name in names),
        tags=range_tags(partition, partition) if ":" in partition else {"dagster/partition": partition},
    )  # fmt: skip


def test_a_partition_that_is_being_made_is_not_requested_again(platform: Platform) -> None:
    platform.hour(NOW)
    platform.report("workload_specs", NOW, "update")
    running = run_of(
        platform, ["features", "kepler_labels", "job_labels", "training_rows"], NOW, DagsterRunStatus.STARTED
    )
    assert not {"features", "training_rows"} & set(platform.asked())
    platform.instance.report_run_canceled(running)
    assert "features" not in platform.asked(minutes(1))  # a cancel holds until the next quarter of an hour
    assert platform.asked(minutes(16))["features"] == {NOW}


def test_a_backfill_of_last_week_does_not_stop_training(platform: Platform) -> None:
    platform.hour(OLD)
    platform.hour(NOW)
    run_of(platform, ["training_rows"], OLD, DagsterRunStatus.STARTED)
    assert platform.asked()["knn_model"] == {TODAY}


def test_training_waits_for_the_rows_of_the_running_hour(platform: Platform) -> None:
    platform.hour(NOW)
    running = run_of(platform, ["training_rows"], NOW, DagsterRunStatus.STARTED)
    assert "knn_model" not in platform.asked()
    platform.report("training_rows", NOW, "update")
    platform.instance.report_run_failed(running)
    assert platform.asked(minutes(1))["knn_model"] == {TODAY}


@pytest.mark.parametrize("partition", [OLD, None], ids=["of the hour", "without a partition"])
def test_rows_that_failed_a_blocking_check_are_not_trained_on(platform: Platform, partition: str | None) -> None:
    platform.hour(OLD)
    platform.check("training_rows", "one_row_a_label", partition, passed=False)
    assert platform.asked() == {}
    platform.check("training_rows", "one_row_a_label", partition, passed=True)
    assert platform.asked(minutes(1))["knn_model"] == {TODAY}


def test_other_hours_are_trained_on_beside_one_that_failed_its_check(platform: Platform) -> None:
    platform.hour(OLD)
    platform.check("training_rows", "one_row_a_label", OLD, passed=False)
    platform.hour(NOW)
    assert platform.asked()["knn_model"] == {TODAY}


def test_labels_that_failed_a_blocking_check_make_no_rows(platform: Platform) -> None:
    platform.hour(NOW)
    platform.report("knn_model", TODAY)
    platform.report("promoted_model", TODAY)
    platform.report("kepler_labels", NOW, "zeros")
    platform.check("kepler_labels", "energy_is_not_all_zero", NOW, passed=False)
    assert platform.asked() == {}
    platform.report("kepler_labels", NOW, "good")
    platform.check("kepler_labels", "energy_is_not_all_zero", NOW, passed=True)
    assert platform.asked(minutes(1))["training_rows"] == {NOW}


def test_a_failed_warning_stops_nothing(platform: Platform) -> None:
    platform.hour(NOW)
    platform.check("training_rows", "most_labels_join", NOW, passed=False)
    assert platform.asked()["knn_model"] == {TODAY}


@pytest.mark.parametrize(
    ("failed", "promoted"), [(None, True), *((name, False) for name in MODEL_CHECKS)], ids=["none", *MODEL_CHECKS]
)
@pytest.mark.parametrize("partition", [TODAY, None], ids=["of the day", "without a partition"])
def test_a_model_is_promoted_after_all_of_its_checks_passed(
    platform: Platform, failed: str | None, promoted: bool, partition: str | None
) -> None:
    platform.report("knn_model", TODAY)
    for name in MODEL_CHECKS:
        platform.check("knn_model", name, partition, passed=name != failed)
    assert platform.asked() == ({"promoted_model": {TODAY}} if promoted else {})


def test_a_model_without_results_of_its_checks_is_not_promoted(platform: Platform) -> None:
    platform.report("knn_model", TODAY)
    assert platform.asked() == {}


def test_midnight_alone_is_no_reason_for_a_model(platform: Platform) -> None:
    platform.hour(OLD)
    platform.report("knn_model", TODAY)
    platform.report("promoted_model", TODAY)
    assert platform.asked(NOON + timedelta(hours=13)) == {}
    late = hour_key((NOON + timedelta(hours=13)).timestamp())
    platform.hour(late)
    tomorrow = day_key((NOON + timedelta(hours=13)).timestamp())
    assert platform.asked(NOON + timedelta(hours=13, minutes=1))["knn_model"] == {tomorrow}


def test_more_than_a_tick_may_request_is_left_to_later_ones_the_latest_hours_first(platform: Platform) -> None:
    hours = [hour_key((NOON - timedelta(hours=back)).timestamp()) for back in range(120)]
    for hour in hours:
        platform.report("workload_specs", hour)
        platform.report("kepler_labels", hour)
    assert platform.asked()["features"] == set(hours[:96])
    for hour in hours[:96]:
        platform.report("features", hour)
    assert platform.asked(minutes(1))["features"] == set(hours[96:])


def test_partitions_before_the_days_that_models_are_trained_on_are_left_alone(platform: Platform) -> None:
    platform.hour(hour_key((NOON - timedelta(days=9)).timestamp()))
    assert platform.asked() == {}


def trainings(platform: Platform, *, hours: int, every: int, new_specs: bool = False, start: datetime = NOON) -> int:
    """Train models over simulated hours in which the rows change at every look, and count them."""
    count = 0
    for minute in range(0, hours * 60, every):
        at = start + timedelta(minutes=minute)
        hour, day = hour_key(at.timestamp()), day_key(at.timestamp())
        platform.report("training_rows", hour, f"rows-{at}", new_specs=f"1:{at}" if new_specs else "")
        asked = platform.asked(at, "knn_model", "promoted_model")
        if "knn_model" in asked:
            assert asked["promoted_model"] == asked["knn_model"]
            count += 1
            seen = {NEW_SPECS: {f"training_rows {hour}": f"1:{at}"}}
            platform.report("knn_model", day, f"m-{at}", consumed=platform.consumed("knn_model", None) | seen)
            platform.report("promoted_model", day, f"p-{at}")
    return count


def test_models_are_six_an_hour_on_the_first_day_hourly_later_and_for_new_specs_every_five_minutes(
    platform: Platform,
) -> None:
    assert trainings(platform, hours=1, every=5) == 6
    assert trainings(platform, hours=3, every=20, start=NOON + timedelta(hours=25)) == 3
    assert trainings(platform, hours=1, every=4, start=NOON + timedelta(hours=29), new_specs=True) == 8


def test_a_busy_hour_is_at_most_thirty_runs(platform: Platform) -> None:
    """Every minute workloads change and a spec that was never seen comes: no hour is busier."""
    start = NOON.replace(minute=0)
    hour, pending = hour_key(start.timestamp()), Pending(last_s=start.timestamp() - 60)
    hourly = models = 0
    for minute in range(60):
        at = start + timedelta(minutes=minute)
        pending.mark([hour], now_s=at.timestamp(), new_specs=True)
        if not (due := pending.due(now_s=at.timestamp(), busy=False)):
            continue
        pending.requested(due, now_s=at.timestamp())
        hourly += 1
        platform.report("training_rows", hour, f"rows-{at}", new_specs=f"1:{at}")
        if "knn_model" in platform.asked(at, "knn_model", "promoted_model"):
            models += 1
            seen = {NEW_SPECS: {f"training_rows {hour}": f"1:{at}"}}
            consumed = platform.consumed("knn_model", None) | seen
            platform.report("knn_model", TODAY, f"m-{at}", consumed=consumed)
            platform.report("promoted_model", TODAY, f"p-{at}")
    finished_hour, fleet_summaries = 1, 3600 / EVERY_S
    assert hourly == models <= 11
    assert hourly + models + finished_hour + fleet_summaries <= 30


def test_the_partitions_of_tests_are_in_the_window() -> None:
    assert {OLD, NOW} <= set(PARTITIONS.hours.get_partition_keys())


@pytest.mark.parametrize("source", ["cluster_journal", "prometheus"])
def test_sources_of_the_lineage_start_nothing(platform: Platform, source: str) -> None:
    """The sensors read them; tests above show that they block nothing, since nothing is ever recorded of them."""
    platform.hour(NOW)
    platform.asked()
    before = platform.asked(NOON + timedelta(minutes=30))
    platform.instance.report_runless_asset_event(dg.AssetObservation(source, tags={"dagster/data_version": "another"}))
    platform.instance.report_runless_asset_event(dg.AssetMaterialization(source))
    assert platform.asked(NOON + timedelta(minutes=31)) == before == {}
