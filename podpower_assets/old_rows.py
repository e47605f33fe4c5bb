"""Old rows of Dagster's database that go with no run: ended backfills, results of checks reported without a run, and
those of partitions that have no tables any more.
"""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
)
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

_PAGE = 500
_ENDED = list(dict.fromkeys(BULK_ACTION_TERMINAL_STATUSES))


def delete_old_backfills(instance: dg.DagsterInstance, *, before_s: float) -> int:
    """Delete the backfills that ended before `before_s` (Unix seconds); return how many."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return 0
    filters = BulkActionsFilter(statuses=_ENDED, created_before=datetime.fromtimestamp(before_s, UTC))
    # Those of earlier versions have no end.
    ended = {one.backfill_id: one.backfill_end_timestamp or 0.0 for one in instance.get_backfills(filters)}
    old = [name for name, ended_s in ended.items() if ended_s < before_s]
    for begin in range(0, len(old), _PAGE):
        page = old[begin : begin + _PAGE]
        with storage.connect() as connection:
            connection.execute(BackfillTagsTable.delete().where(BackfillTagsTable.c.backfill_id.in_(page)))
            connection.execute(BulkActionsTable.delete().where(BulkActionsTable.c.key.in_(page)))
    return len(old)


def delete_old_results(instance: dg.DagsterInstance, *, before_s: float, since: str) -> int:
    """Delete results of checks from before `before_s` (Unix seconds), with their events: those of partitions before the
    key `since`, and those that were reported without a run, except the last one of each check and of each of its
    partitions. Return how many.
    """
    storage, columns, deleted = instance.event_log_storage, AssetCheckExecutionsTable.c, 0
    if not isinstance(storage, SqlEventLogStorage):
        return deleted
    before = datetime.fromtimestamp(before_s, UTC).replace(tzinfo=None)
    planned = AssetCheckExecutionRecordStatus.PLANNED.value
    last = (
        sa.select(sa.func.max(columns.id))
        .where(columns.execution_status != planned)
        .group_by(columns.asset_key, columns.check_name, columns.partition)
    )
    is_old = sa.or_(
        sa.and_(columns.run_id == RUNLESS_RUN_ID, columns.evaluation_event_timestamp < before, columns.id.not_in(last)),
        sa.and_(columns.partition < since, columns.create_timestamp < before),
    )
    query = sa.select(columns.id, columns.evaluation_event_storage_id).where(is_old).limit(_PAGE)
    while True:
        with storage.index_connection() as connection:
            page = connection.execute(query).all()
            # The events first: where a kill comes between, the results are found again.
            for table, ids in (
                (SqlEventLogStorageTable, [event for _, event in page if event is not None]),
                (AssetCheckExecutionsTable, [one for one, _ in page]),
            ):
                connection.execute(sa.delete(table).where(table.c.id.in_(ids)))
        deleted += len(page)
        if len(page) < _PAGE:
            break
    if isinstance(storage, SqliteEventLogStorage):
        _delete_copies(storage, before)
    return deleted


def _delete_copies(storage: SqliteEventLogStorage, before: datetime) -> None:
    """Delete what SQLite has of the results in the file of events without a run, from which no check is read."""
    columns = SqlEventLogStorageTable.c
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    old: Any = SqlEventLogStorageTable.delete().where(columns.dagster_event_type == kind, columns.timestamp < before)
    with storage.run_connection(RUNLESS_RUN_ID) as connection:
        connection.execute(old)
