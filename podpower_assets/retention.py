"""`retention`, the daily job that keeps every store small.

It removes tables older than PODPOWER_KEEP_TABLES_DAYS (PODPOWER_WINDOW_DAYS, if that is more), evaluation pages older
than PODPOWER_KEEP_REPORTS_DAYS, the oldest model versions beyond PODPOWER_KEEP_MODELS, and what killed writers left in
tables and models (`podpower.retention.ages`, `podpower.registry`). It redacts stored specs of older rules again
(`podpower.retention.redaction`). From Dagster's history it deletes ended runs older than PODPOWER_KEEP_RUNS_DAYS with
their events, logs and replaced results of checks, except the last materialization of each partition since the day of
the oldest table, and of each asset: without these Dagster would show them as missing (`podpower_assets.old_runs`).
Backfills that ended before, results of checks without a run that later ones replaced, and results of partitions before
the oldest table are deleted too (`podpower_assets.old_rows`).
"""

import time
from collections.abc import Sequence

import dagster as dg

from podpower import settings
from podpower.retention.ages import prune_reports, prune_tables
from podpower.retention.redaction import redact_tables
from podpower_assets.clusters import Cluster
from podpower_assets.old_rows import delete_old_backfills, delete_old_results
from podpower_assets.old_runs import delete_old_runs, needed_runs, old_before_s
from podpower_assets.policies import LIMITED, translate_errors
from podpower_assets.resources import Models, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.storage.check_states import CheckStates

_OLD_DATA = (
    "Removes tables, evaluation pages and model versions beyond the days and numbers in the settings, and what killed "
    "writers left in tables and models. Redacts stored specs again in which older rules missed a credential."
)
_OLD_RUNS = (
    "Deletes ended runs older than PODPOWER_KEEP_RUNS_DAYS, except the last materialization of each partition since "
    "the day of the oldest table, and of each asset; backfills that ended before; replaced results of checks that were "
    "reported without a run, and those of partitions before the oldest table."
)


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
        results = delete_old_results(context.instance, before_s=before_s, since=oldest[:10])
        context.log.info(f"{backfills} backfills and {results} old results of checks deleted")
        counts = {"deleted": done.deleted, "kept": done.kept, "backfills": backfills, "check_results": results}
        context.add_output_metadata(counts)
        if isinstance(storage := context.instance.event_log_storage, CheckStates):
            storage.get_asset_check_state(states)  # which keeps them: the first page of the UI need not compute them

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
