"""`drifted`: a failed check of drift requests a model of today. The newest evaluated day decides, and none that ended
long ago: a backfill of old evaluations requests nothing.
"""

import time

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from podpower.evaluation.checks import DRIFT_CHECKS
from podpower.hours import DAY_S
from podpower_assets.model.evaluation import NAME as EVALUATION
from podpower_assets.model.schedules import model_job
from podpower_assets.partitions import day_key
from podpower_assets.policies import LIMITED

_RECENT_DAYS = 3  # today, yesterday, which is evaluated early today, and the day before until then
CHECKS = tuple(dg.AssetCheckKey(dg.AssetKey(EVALUATION), name) for name in DRIFT_CHECKS)


@dg.sensor(
    name="drifted",
    job=model_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a model of today when errors or specs have drifted away from the served model.",
)
def drifted(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request one run for each failed evaluation."""
    storage, now_s = context.instance.event_log_storage, time.time()
    recent = {day_key(now_s - age * DAY_S) for age in range(_RECENT_DAYS)}
    evaluated = storage.get_latest_storage_id_by_partition(
        dg.AssetKey(EVALUATION), dg.DagsterEventType.ASSET_MATERIALIZATION, recent
    )
    if not evaluated:
        return dg.SkipReason("no recent day was evaluated")
    records = storage.get_latest_asset_check_execution_by_key(
        list(CHECKS), partition_filter=PartitionKeyFilter(key=max(evaluated))
    )
    made = [record for record in records.values() if record.status != AssetCheckExecutionRecordStatus.PLANNED]
    failed = [record for record in made if record.evaluation and _has_drifted(record.evaluation)]
    newest = max((record.id for record in failed), default=0)
    if newest <= int(context.cursor or 0):
        return dg.SkipReason("no check of drift failed since the last tick")
    today = day_key(now_s)
    names = ", ".join(sorted(str(record.key.name) for record in failed))
    request = dg.RunRequest(run_key=f"drift-{newest}", partition_key=today, tags={**LIMITED, "podpower/drift": names})
    return dg.SensorResult(run_requests=[request], cursor=str(newest))


def _has_drifted(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Return True for a failed check, unless it failed because nothing was measured: a new model is no help there."""
    drifted = evaluation.metadata.get("drifted")
    return not evaluation.passed and (drifted is None or bool(drifted.value))
