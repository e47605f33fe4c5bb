"""Failures that no run has: sensors and schedules that keep failing, and backfills that Dagster gave up."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import TickStatus
from dagster._utils.error import SerializableErrorInfo

from podpower.hours import DAY_S

NO_REASON = "no reason given"

_IN_A_ROW = 3  # evaluations: fewer are an outage that is over
_LASTS_S = 600.0  # of a schedule, which may not be evaluated again before tomorrow
_MOST_BACKFILLS, _MOST_DAYS = 50, 30  # that are looked at, and of their age


def failing(instance: dg.DagsterInstance, names: Collection[str], *, now_s: float) -> Iterator[tuple[str, str]]:
    """Yield the sensors and schedules whose evaluations fail, with the reason; `names`: those that exist now."""
    for state in instance.all_instigator_state():
        if not state.is_running or state.name not in names:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=2)
        last = next((tick for tick in ticks if tick.status != TickStatus.STARTED), None)
        if last is None or last.status != TickStatus.FAILURE:
            continue
        if last.consecutive_failure_count >= _IN_A_ROW or now_s - last.timestamp >= _LASTS_S:
            yield state.name, reason_of(last.error)


def failed_backfills(instance: dg.DagsterInstance, *, since_s: float) -> Iterator[tuple[str, str]]:
    """Yield the backfills that ended since then because Dagster gave them up, not because runs failed, and why."""
    after = datetime.fromtimestamp(since_s - _MOST_DAYS * DAY_S, UTC)
    filters = BulkActionsFilter(statuses=[BulkActionStatus.FAILED], created_after=after)
    for backfill in instance.get_backfills(filters, limit=_MOST_BACKFILLS):
        if (backfill.backfill_end_timestamp or 0.0) >= since_s:
            yield backfill.backfill_id, reason_of(backfill.error)


def reason_of(error: SerializableErrorInfo | None) -> str:
    """Return the first line of the innermost error."""
    while error is not None and error.cause is not None:
        error = error.cause
    lines = error.message.splitlines() if error else []
    return next((line for line in lines if line.strip()), NO_REASON)
