"""Old runs of Dagster's history, which the job `retention` deletes."""

import shutil
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

from podpower.hours import DAY_S
from podpower_assets.partitions import day_start_s

_PAGE = 500
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
