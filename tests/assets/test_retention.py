"""History stays small: old runs go, and no partition is lost with them."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable

from podpower.io.files import write_atomically
from podpower_assets.checks import check_specs
from podpower_assets.old_rows import delete_old_backfills, delete_old_results
from podpower_assets.old_runs import delete_old_runs, needed_runs, old_before_s
from tests.assets.conftest import DEFS, HOURS, Place
from tests.postgres import serving_postgres

PARTS = dg.StaticPartitionsDefinition(["2026-01-01-00:00", "2026-01-01-01:00", "2026-01-02-00:00"])


@dg.asset(partitions_def=PARTS)
def hourly(context: dg.AssetExecutionContext) -> None:
    print("made")  # noqa: T201  # a log of the step


@dg.asset
def encoder() -> None: ...


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def run(instance, asset, **options):
    return dg.materialize([asset], instance=instance, **options).run_id


def test_only_the_newest_run_of_each_kept_partition_is_left(instance):
    remade = [run(instance, hourly, partition_key="2026-01-02-00:00") for _ in range(3)]
    older = run(instance, hourly, partition_key="2026-01-01-01:00")
    pruned = run(instance, hourly, partition_key="2026-01-01-00:00")
    needed = needed_runs(instance, [hourly.key], since="2026-01-01-01:00")
    assert needed == {remade[-1], older, pruned}  # `pruned` is the newest event of the asset

    last = run(instance, hourly, partition_key="2026-01-02-00:00")
    needed = needed_runs(instance, [hourly.key], since="2026-01-01-01:00")
    done = delete_old_runs(instance, before_s=time.time() + 1, needed=needed)
    assert (done.deleted, done.kept) == (4, 2)
    assert {record.dagster_run.run_id for record in instance.get_run_records()} == {older, last}
    assert instance.get_materialized_partitions(hourly.key) == {"2026-01-01-01:00", "2026-01-02-00:00"}
    logs = Path(instance.storage_directory())
    assert {p.name for p in logs.iterdir() if p.name in {*remade, older, pruned, last}} <= {older, last}


CHECK = dg.AssetCheckKey(dg.AssetKey("checked"), "is_whole")


@dg.asset(partitions_def=PARTS, check_specs=check_specs(CHECK.asset_key, PARTS, warning={CHECK.name: ""}))
def checked() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def test_replaced_results_of_checks_are_deleted_with_their_runs(instance):
    first, second = PARTS.get_partition_keys()[:2]
    replaced = run(instance, checked, partition_key=first)
    newest = run(instance, checked, partition_key=first)
    only = run(instance, checked, partition_key=second)
    delete_old_runs(instance, before_s=time.time() + 1, needed={newest}, checks=[CHECK])
    history = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=10)
    assert [(one.run_id, one.partition) for one in history] == [(only, second), (newest, first)]
    assert replaced not in {one.run_id for one in history}


@pytest.fixture(params=["sqlite", "postgres"])
def any_instance(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    if request.param == "sqlite":
        with dg.instance_for_test() as instance:
            yield instance
        return
    with serving_postgres() as url:
        storage = {"module": "podpower_assets.storage.postgres", "class": "PostgresStorage"}
        with dg.instance_for_test(
            overrides={"storage": {"custom": {**storage, "config": {"postgres_url": url}}}}
        ) as instance:
            yield instance


def test_replaced_results_without_a_run_are_deleted_with_their_events(any_instance: dg.DagsterInstance) -> None:
    first, second = PARTS.get_partition_keys()[:2]
    for passed, partition in ((False, first), (True, None), (True, second), (True, None), (False, None)):
        any_instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(CHECK.asset_key, CHECK.name, passed=passed, partition=partition, metadata={})
        )
    only = run(any_instance, checked, partition_key=PARTS.get_partition_keys()[2])
    storage = any_instance.event_log_storage

    def events(connection) -> int:
        is_check = SqlEventLogStorageTable.c.dagster_event_type == "ASSET_CHECK_EVALUATION"
        return len(connection.execute(SqlEventLogStorageTable.select().where(is_check)).all())

    assert delete_old_results(any_instance, before_s=time.time() - 60, since="") == 0
    assert delete_old_results(any_instance, before_s=time.time() + 60, since="") == 2
    assert delete_old_results(any_instance, before_s=time.time() + 60, since="") == 0
    history = storage.get_asset_check_execution_history(CHECK, limit=10)
    left = [(one.partition, one.evaluation.passed if one.evaluation else None) for one in history]
    assert left == [(PARTS.get_partition_keys()[2], True), (None, False), (second, True), (first, False)]
    assert history[0].run_id == only
    with storage.index_connection() as connection:
        assert events(connection) == 4


def test_results_of_partitions_without_tables_are_deleted(any_instance: dg.DagsterInstance) -> None:
    """The newest result of each hour stayed for ever: a cluster had 150,000 of them a year."""
    first, second, third = PARTS.get_partition_keys()
    for partition in (first, second, third):
        run(any_instance, checked, partition_key=partition)
    evaluation = dg.AssetCheckEvaluation(CHECK.asset_key, CHECK.name, passed=True, metadata={})
    any_instance.report_runless_asset_event(evaluation)
    assert delete_old_results(any_instance, before_s=time.time() + 60, since="") == 0
    assert delete_old_results(any_instance, before_s=time.time() - 60, since=third[:10]) == 0
    assert delete_old_results(any_instance, before_s=time.time() + 60, since=third[:10]) == 2
    history = any_instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=10)
    assert [one.partition for one in history] == [None, third]


def test_backfills_that_ended_long_ago_are_deleted(any_instance: dg.DagsterInstance) -> None:
    day_s = 86_400.0
    for name, status, began_days, ended_days in (
        ("old", BulkActionStatus.COMPLETED_SUCCESS, 10, 9),
        ("failed", BulkActionStatus.COMPLETED_FAILED, 10, None),
        ("long", BulkActionStatus.COMPLETED_SUCCESS, 10, 1),
        ("running", BulkActionStatus.REQUESTED, 10, None),
        ("new", BulkActionStatus.CANCELED, 1, 1),
    ):
        any_instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=status,
                from_failure=False,
                tags={"a": name},
                backfill_timestamp=time.time() - began_days * day_s,
                backfill_end_timestamp=None if ended_days is None else time.time() - ended_days * day_s,
                asset_selection=[hourly.key],
            )
        )
    assert delete_old_backfills(any_instance, before_s=time.time() - 7 * day_s) == 2
    assert {one.backfill_id for one in any_instance.get_backfills()} == {"long", "running", "new"}


def test_recent_and_unfinished_runs_are_never_deleted(instance):
    recent = run(instance, encoder)
    started = instance.create_run_for_job(
        dg.define_asset_job("j", selection=[encoder]).resolve(
            asset_graph=dg.Definitions([encoder]).resolve_asset_graph()
        ),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert delete_old_runs(instance, before_s=time.time() - 60, needed=set()).deleted == 0
    assert delete_old_runs(instance, before_s=time.time() + 60, needed={recent}).deleted == 0
    assert instance.get_run_by_id(started.run_id) is not None


def test_an_unpartitioned_asset_keeps_its_last_run(instance):
    run(instance, encoder)
    last = run(instance, encoder)
    assert needed_runs(instance, [encoder.key], since="") == {last}


def created_before(instance: dg.DagsterInstance, *, days: int) -> None:
    """Make all runs so many days older."""
    created = RunsTable.c.create_timestamp
    for record in instance.get_run_records():
        older = record.create_timestamp.replace(tzinfo=None) - timedelta(days=days)
        with instance.run_storage.connect() as connection:
            row = RunsTable.c.run_id == record.dagster_run.run_id
            connection.execute(RunsTable.update().where(row).values({created: older}))


def test_a_clock_that_jumps_ahead_deletes_no_runs_of_the_newest_days(any_instance: dg.DagsterInstance) -> None:
    run(any_instance, encoder)
    now_s = time.time()
    assert old_before_s(any_instance, keep_days=7, now_s=now_s + 40 * 86_400) < now_s
    created_before(any_instance, days=2)
    run(any_instance, encoder)
    assert old_before_s(any_instance, keep_days=2, now_s=now_s + 40 * 86_400) < now_s - 86_400
    newest_day_s = old_before_s(any_instance, keep_days=1, now_s=now_s + 40 * 86_400)
    assert now_s - 86_400 < newest_day_s < time.time()  # which may have begun meanwhile
    assert old_before_s(any_instance, keep_days=7, now_s=now_s) <= now_s - 2 * 86_400


def test_the_job_deletes_what_the_settings_say(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODPOWER_KEEP_TABLES_DAYS", "3650")
    monkeypatch.setenv("PODPOWER_KEEP_RUNS_DAYS", "1")
    assert place.materialize("workload_specs", first=HOURS[0]).success
    assert place.materialize("workload_specs", first=HOURS[0]).success
    job = DEFS.resolve_job_def("retention")
    assert job.execute_in_process(instance=place.instance, resources=place.resources).success
    assert len(place.instance.get_run_records()) == 3  # nothing is a day old
    created_before(place.instance, days=2)
    assert job.execute_in_process(instance=place.instance, resources=place.resources).success
    left = {record.dagster_run.job_name for record in place.instance.get_run_records()}
    assert len(left & {"retention"}) == 1
    assert place.instance.get_materialized_partitions(dg.AssetKey("workload_specs")) == {HOURS[0]}
    assert len(place.instance.get_run_records(dg.RunsFilter(job_name="__ephemeral_asset_job__"))) == 1


def test_the_job_removes_old_tables_and_pages_and_counts_them(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEEP_TABLES", "KEEP_REPORTS", "WINDOW"):
        monkeypatch.setenv(f"PODPOWER_{name}_DAYS", "1")
    root = Path(place.tables.root)
    for name in ("features/2026-01-01-0900.parquet", "features/2099-01-01-0900.parquet", "encoder/encoder.joblib"):
        write_atomically(root / name, b"12345")
    for day in ("2020-01-01", "2099-01-01"):
        write_atomically(root / "model_evaluation" / f"{day}.html", b"123")
    result = DEFS.resolve_job_def("retention").execute_in_process(instance=place.instance, resources=place.resources)
    [output] = [e for e in result.all_events if e.is_successful_output and e.step_key == "old_data"]
    counts = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (counts["partitions"], counts["partition_bytes"], counts["pages"], counts["page_bytes"]) == (1, 5, 1, 3)
    assert sorted(path.name for path in root.rglob("*.*")) == [
        "2099-01-01-0900.parquet", "2099-01-01.html", "encoder.joblib",
    ]  # fmt: skip
