"""`lost_retries`: failed runs whose retry was lost, because Dagster's daemon found no code server, or no database.

The daemon comes to a failed run once. Where it cannot retry the run, it tags the run so that it is not tried again;
where it cannot record that either, the run keeps the tag that it will be retried, and never is. This sensor runs in the
code server and reads the database, so that a run which it reports failed once more finds both.
"""

import time
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
_COMES_WITHIN_S = 120.0  # the daemon, to a run that failed; it looks every five seconds


class _Cursor(msgspec.Struct):
    """When the last look began (Unix seconds)."""

    at_s: float


@dg.sensor(
    name="lost_retries",
    minimum_interval_seconds=_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has Dagster retry the runs whose retry was lost because code server or database were away.",
)
def lost_retries(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Report each such run failed again: the daemon then retries it by the same rules as before. One that the daemon
    never comes to is given up in the end: it is a failed run like any other, which `alerts` posts.
    """
    instance, now_s, retried = context.instance, time.time(), 0
    since_s = msgspec.json.decode(context.cursor, type=_Cursor).at_s if context.cursor else now_s - HOUR_S
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(since_s - _LOOKS_BACK_S, UTC)
    )
    for record in instance.get_run_records(failed, limit=_MOST_RUNS):
        run, forgotten = record.dagster_run, _is_forgotten(instance, record, now_s=now_s)
        if forgotten and len(instance.all_logs(run.run_id, of_type=_FAILURE)) > _MOST_LOST:
            instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        elif forgotten or is_lost(instance, run):
            context.log.warning(f"run {run.run_id} of {run.job_name} is retried: its retry was lost")
            instance.report_run_failed(run, "Code server or database were away when this run was to be retried.")
            retried += 1
    reason = f"{retried} runs are retried" if retried else "no retry was lost"
    return dg.SensorResult(skip_reason=reason, cursor=msgspec.json.encode(_Cursor(at_s=now_s)).decode())


def _is_forgotten(instance: dg.DagsterInstance, record: dg.RunRecord, *, now_s: float) -> bool:
    """Return whether a failed run is still to be retried, and the daemon should have come to it."""
    tags = record.dagster_run.tags
    to_be_retried = tags.get(WILL_RETRY_TAG, str(instance.run_retries_enabled).lower()) == "true"
    is_late = now_s - record.update_timestamp.timestamp() >= _COMES_WITHIN_S
    return to_be_retried and is_late and AUTO_RETRY_RUN_ID_TAG not in tags


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
