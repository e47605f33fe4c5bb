"""`retention`, the daily job that keeps every store small.

It removes tables older than PODPOWER_KEEP_TABLES_DAYS (PODPOWER_WINDOW_DAYS, if that is more), evaluation pages older
than PODPOWER_KEEP_REPORTS_DAYS, the oldest model versions beyond PODPOWER_KEEP_MODELS, and what killed writers left in
tables and models (`podpower.retention.ages`, `podpower.registry`). It redacts stored specs of older rules again
(`podpower.retention.redaction`). From Dagster's history it deletes ended runs older than PODPOWER_KEEP_RUNS_DAYS with
their events, logs and replaced results of checks, except the last materialization of each partition since the day of
the oldest table, and of each asset: without these Dagster would show them as missing. Backfills that ended before, and
results of checks without a run that later ones replaced, are deleted too (`podpower_assets.old_rows`).
"""

import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from podpower import settings
from podpower.hours import DAY_S
from podpower.retention.ages import prune_reports, prune_tables
from podpower.retention.redaction import redact_tables
from podpower_assets.clusters import Cluster
from podpower_assets.old_rows import delete_old_backfills, delete_old_results
from podpower_assets.partitions import day_start_s
from podpower_assets.policies import LIMITED, translate_errors
from podpower_assets.resources import Models, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.storage.check_states import CheckStates

_PAGE = 500
_OLD_DATA = (
    "Removes tables, evaluation pages and model versions beyond the days and numbers in the settings, and what killed "
    "writers left in tables and models. Redacts stored specs again in which older rules missed a credential."
)
_OLD_RUNS = (
    "Deletes ended runs older than PODPOWER_KEEP_RUNS_DAYS, except the last materialization of each partition since "
    "the day of the oldest table, and of each asset; backfills that ended before; and replaced results of checks that "
    "were reported without a run."
)
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True, kw_only=True)
class DeletedRuns:
    """Numbers of old runs that were deleted, and that were kept because partitions need them."""

    deleted: int
    kept: int


def delete_old_runs(
    instance: dg.DagsterInstance, *, before_s: float, needed: Collection[str], checks: Collection[dg.AssetCheckKey] = ()
) -> DeletedRuns:
    """Delete the ended runs that were created before `before_s` (Unix seconds) and are not `needed`, with their results
    of `checks` that later ones replaced.

    Safe to be killed and to be repeated: each run is deleted on its own, after its results.
    """
    found = list(_ended_before(instance, before_s))
    old = [run_id for run_id in found if run_id not in needed]
    for begin in range(0, len(old), _PAGE):
        page = old[begin : begin + _PAGE]
        _delete_results(instance, checks, page)
        for run_id in page:
            _delete_logs(instance, run_id)
            instance.delete_run(run_id)
    return DeletedRuns(deleted=len(old), kept=len(found) - len(old))


def old_before_s(instance: dg.DagsterInstance, *, keep_days: int, now_s: float) -> float:
    """Return the time (Unix seconds) before which runs are old. The newest days with runs stay, as many as are kept: a
    clock that jumps ahead deletes nothing of them.
    """
    before_s, storage = now_s - keep_days * DAY_S, instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return before_s
    day = sa.func.date(RunsTable.c.create_timestamp)
    query = sa.select(day.label("day")).distinct().order_by(day.desc()).limit(keep_days)
    days = [str(row["day"]) for row in storage.fetchall(query)]
    return min([before_s, *([day_start_s(days[-1])] if days else [])])


def _delete_results(instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey], runs: Sequence[str]) -> None:
    """Delete the results of checks in runs, except the newest of each partition. Dagster leaves them all."""
    storage, columns = instance.event_log_storage, AssetCheckExecutionsTable.c
    if not isinstance(storage, SqlEventLogStorage):
        return
    for check in checks:
        of_check = columns.asset_key == check.asset_key.to_string(), columns.check_name == check.name
        newest = sa.select(sa.func.max(columns.id)).where(*of_check).group_by(columns.partition)
        old = AssetCheckExecutionsTable.delete().where(*of_check, columns.run_id.in_(runs), columns.id.not_in(newest))
        with storage.index_connection() as connection:
            connection.execute(old)


def needed_runs(instance: dg.DagsterInstance, assets: Collection[dg.AssetKey], *, since: str) -> set[str]:
    """Return the runs of the newest materialization of each partition from the key `since` on, and of each asset."""
    needed = set[str]()
    for asset in assets:
        newest = instance.event_log_storage.get_latest_storage_id_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        wanted = [storage_id for partition, storage_id in newest.items() if partition >= since]
        last = max(newest.values(), default=None)
        if last is not None:
            wanted.append(last)
        for begin in range(0, len(wanted), _PAGE):
            chosen = dg.AssetRecordsFilter(asset_key=asset, storage_ids=wanted[begin : begin + _PAGE])
            found = instance.fetch_materializations(chosen, limit=_PAGE)
            needed.update(record.run_id for record in found.records)
        if not newest:  # no partitions
            needed.update(record.run_id for record in instance.fetch_materializations(asset, limit=1).records)
    return needed


def _ended_before(instance: dg.DagsterInstance, before_s: float) -> Iterator[str]:
    """Yield the ids of ended runs, page by page."""
    filters = dg.RunsFilter(statuses=_ENDED, created_before=datetime.fromtimestamp(before_s, UTC))
    cursor: str | None = None
    while records := instance.get_run_records(filters, limit=_PAGE, cursor=cursor):
        yield from (record.dagster_run.run_id for record in records)
        cursor = records[-1].dagster_run.run_id


def _delete_logs(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete what the run's steps wrote, also its empty folder where logs are files."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    folder = Path(instance.storage_directory()) / run_id
    shutil.rmtree(folder, ignore_errors=True)


def retention_schedule(clusters: Sequence[Cluster], assets: Sequence[dg.AssetsDefinition]) -> dg.ScheduleDefinition:
    """Return the daily schedule of the job `retention`."""
    keys = [key for asset in assets for key in asset.keys]
    states = [(spec.key, spec.partitions_def) for asset in assets for spec in asset.check_specs]
    checks = [key for key, _ in states]

    @dg.op(description=_OLD_RUNS, ins={"tables_that_stay": dg.In(dg.Nothing)})
    def old_runs(context: dg.OpExecutionContext, tables: Tables) -> None:
        """Delete old runs, and report how many."""
        days = settings.read().assets.keep_runs_days
        kept = [tables.of(cluster).partitions(key.path[-1])[:1] for cluster in clusters for key in keys]
        oldest = min((hours[0] for hours in kept if hours), default="")
        needed = needed_runs(context.instance, keys, since=oldest[:10])
        before_s = old_before_s(context.instance, keep_days=days, now_s=time.time())
        done = delete_old_runs(context.instance, before_s=before_s, needed=needed, checks=checks)
        context.log.info(f"{done.deleted} runs older than {days} days deleted, {done.kept} kept for their partitions")
        backfills = delete_old_backfills(context.instance, before_s=before_s)
        results = delete_old_results(context.instance, before_s=before_s)
        context.log.info(f"{backfills} backfills and {results} replaced results of checks without a run deleted")
        counts = {"deleted": done.deleted, "kept": done.kept, "backfills": backfills, "check_results": results}
        context.add_output_metadata(counts)
        if isinstance(storage := context.instance.event_log_storage, CheckStates):
            storage.get_asset_check_state(states)  # which keeps them: the first page of the UI need not compute them

    @dg.op(description=_OLD_DATA)
    def old_data(context: dg.OpExecutionContext, tables: Tables, models: Models) -> None:
        """Remove old data, and report how many files and bytes."""
        given, now_s = settings.read().assets, time.time()
        days = max(given.keep_tables_days, given.window_days)
        with translate_errors():
            parts = prune_tables(tables.root, keep_days=days, now_s=now_s)
            # Those of earlier versions are beside the tables.
            roots = (models.root, tables.root)
            old = [prune_reports(root, keep_days=given.keep_reports_days, now_s=now_s) for root in roots]
            redacted = redact_tables(tables.root, asset=SPECS)
            store = models.open()
            versions, leftovers = store.prune(keep=models.keep), store.remove_leftovers()
        removed = {
            "partitions": parts.files, "partition_bytes": parts.size_bytes, "pages": sum(one.files for one in old),
            "page_bytes": sum(one.size_bytes for one in old), "versions": len(versions), "leftovers": len(leftovers),
            "redacted_specs": redacted.specs,
        }  # fmt: skip
        for problem in redacted.problems:
            context.log.warning(f"specs that were not redacted again: {problem}")
        context.log.info(f"removed what is older than its days: {removed}")
        context.add_output_metadata(removed)

    @dg.job(name="retention", tags=LIMITED, description=f"{_OLD_DATA} {_OLD_RUNS}")
    def retention() -> None:
        """Remove old data and old runs."""
        old_runs(tables_that_stay=old_data())

    return dg.ScheduleDefinition(
        name="retention_daily",
        job=retention,
        cron_schedule="37 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{_OLD_DATA} {_OLD_RUNS}",
    )
