"""`lost_retries`: failed runs whose retry was lost, because the code server was down when Dagster's daemon came to it.

Dagster tries to retry a run once: where that fails it tags the run so that it is not tried again. This sensor runs in
the code server, so that a run which it reports failed once more finds one.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from podpower.hours import HOUR_S

_EVERY_S = 30
_LOST = "Failed to retry run"  # the event of `dagster._daemon.auto_run_reexecution`
_FAILURE = dg.DagsterEventType.RUN_FAILURE
_MOST_LOST = 5  # of a run: what was lost as often is lost for another reason
_MOST_RUNS = 100
_LOOKS_BACK_S = 600.0  # before the last look: a retry is lost some time after its run failed


class _Cursor(msgspec.Struct):
    """When the last look began (Unix seconds)."""

    at_s: float


@dg.sensor(
    name="lost_retries",
    minimum_interval_seconds=_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has Dagster retry the runs whose retry was lost because the code server was down.",
)
def lost_retries(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Report each such run failed again: the daemon then retries it by the same rules as before."""
    now_s = time.time()
    since_s = msgspec.json.decode(context.cursor, type=_Cursor).at_s if context.cursor else now_s - HOUR_S
    lost = list(_lost(context.instance, since_s=since_s - _LOOKS_BACK_S))
    for run in lost:
        context.log.warning(f"run {run.run_id} of {run.job_name} is retried: the code server was down before")
        context.instance.report_run_failed(run, "The code server was down when this run was to be retried.")
    reason = f"{len(lost)} runs are retried" if lost else "no retry was lost"
    return dg.SensorResult(skip_reason=reason, cursor=msgspec.json.encode(_Cursor(at_s=now_s)).decode())


def _lost(instance: dg.DagsterInstance, *, since_s: float) -> Iterator[dg.DagsterRun]:
    """Yield the runs whose retry was lost."""
    filters = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={WILL_RETRY_TAG: "false"},
        updated_after=datetime.fromtimestamp(since_s, UTC),
    )
    yield from (run for run in instance.get_runs(filters, limit=_MOST_RUNS) if is_lost(instance, run))


def is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a failed run will be retried by this sensor: the last that happened is that no retry could be
    started, and it did not happen too often.
    """
    if run.tags.get(WILL_RETRY_TAG) != "false" or AUTO_RETRY_RUN_ID_TAG in run.tags:
        return False
    entries = instance.all_logs(run.run_id, of_type={dg.DagsterEventType.ENGINE_EVENT, _FAILURE})
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    happened = [one for one in events if one.message == _LOST or one.event_type == _FAILURE]
    losses = sum(one.message == _LOST for one in happened)
    return 0 < losses <= _MOST_LOST and happened[-1].message == _LOST
