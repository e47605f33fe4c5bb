"""`missed_days`: the evaluations of days that their schedule missed while Dagster was down, or whose run failed."""

import time
from collections.abc import Sequence

import dagster as dg
import msgspec
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from podpower.hours import DAY_S
from podpower.settings import AssetSettings
from podpower_assets.model.evaluation import NAME as EVALUATION
from podpower_assets.model.schedules import evaluation_job
from podpower_assets.partitions import day_end_s, day_key
from podpower_assets.policies import LIMITED, MISSED_DAY_AFTER_S, RUNS_A_TICK, WAITS_S, Requested
from podpower_assets.versions import recorded

_EVERY_S = 900


class _Cursor(msgspec.Struct):
    """The last day that was looked at, and the days without an evaluation, with what was requested of them."""

    day: str = ""
    again: dict[str, Requested] = {}


def missed_days(given: AssetSettings) -> dg.SensorDefinition:
    """Return the sensor. Models of days that passed are not made: that of the running day is newer."""

    @dg.sensor(
        name="missed_days",
        job=evaluation_job,
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests the evaluation of each day that its schedule missed, because Dagster was down then, or "
        "whose run failed: four times at most, after longer and longer waits.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Look for days that ended. One that is missed is requested at a later tick: the schedule may make it."""
        known = msgspec.json.decode(context.cursor, type=_Cursor) if context.cursor else _Cursor()
        now_s = time.time()
        last = day_key(now_s - MISSED_DAY_AFTER_S - DAY_S)
        earliest = max(day_key(now_s - given.keep_tables_days * DAY_S), (given.partitions_start or "")[:10])
        ended = _days_after(known.day, last) if known.day else []
        looked_at = [day for day in [*known.again, *ended] if day >= earliest]
        again = {day: known.again.get(day, Requested()) for day in _missed(context.instance, looked_at)}
        again = {day: one for day, one in again.items() if one.requests <= len(WAITS_S)}
        due = [] if _is_running(context.instance) else [day for day in again if day in known.again]
        chosen = [day for day in due if again[day].is_due(now_s)][:RUNS_A_TICK]
        again |= {day: again[day].once_more(now_s) for day in chosen}
        requests = [
            dg.RunRequest(run_key=f"missed {day} {again[day].requests}", partition_key=day, tags=LIMITED)
            for day in chosen
        ]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "no day was missed",
            cursor=msgspec.json.encode(_Cursor(day=max(last, known.day), again=again)).decode(),
        )

    return sensor


def _days_after(day: str, last: str) -> list[str]:
    """Return the days after a day, up to the last one."""
    begin_s = day_end_s(day)
    return [day_key(begin_s + age * DAY_S) for age in range(round((day_end_s(last) - begin_s) / DAY_S))]


def _missed(instance: dg.DagsterInstance, days: Sequence[str]) -> list[str]:
    """Return those of the days that were not evaluated after their end."""
    made = recorded(instance, dg.AssetKey(EVALUATION), days)
    return [day for day in days if day not in made or made[day].began_s < day_end_s(day)]


def _is_running(instance: dg.DagsterInstance) -> bool:
    filters = dg.RunsFilter(job_name=evaluation_job.name, statuses=NOT_FINISHED_STATUSES)
    return bool(instance.get_runs(filters, limit=1))
