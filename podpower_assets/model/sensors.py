"""`drifted`: a failed check of drift requests a model of today."""

import time

import dagster as dg

from podpower.evaluation.checks import DRIFT_CHECKS
from podpower_assets.model.assets import NAME as MODEL
from podpower_assets.model.assets import PROMOTED
from podpower_assets.model.evaluation import NAME as EVALUATION
from podpower_assets.partitions import day_key
from podpower_assets.policies import LIMITED

CHECKS = tuple(dg.AssetCheckKey(dg.AssetKey(EVALUATION), name) for name in DRIFT_CHECKS)


@dg.sensor(
    name="drifted",
    asset_selection=dg.AssetSelection.assets(MODEL, PROMOTED),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a model of today when errors or specs have drifted away from the served model.",
)
def drifted(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request one run for each failed evaluation."""
    records = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(CHECKS))
    failed = [record for record in records.values() if record.evaluation and _has_drifted(record.evaluation)]
    newest = max((record.id for record in failed), default=0)
    if newest <= int(context.cursor or 0):
        return dg.SkipReason("no check of drift failed since the last tick")
    today = day_key(time.time())
    names = ", ".join(sorted(str(record.key.name) for record in failed))
    request = dg.RunRequest(run_key=f"drift-{newest}", partition_key=today, tags={**LIMITED, "podpower/drift": names})
    return dg.SensorResult(run_requests=[request], cursor=str(newest))


def _has_drifted(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Return True for a failed check, unless it failed because nothing was measured: a new model is no help there."""
    drifted = evaluation.metadata.get("drifted")
    return not evaluation.passed and (drifted is None or bool(drifted.value))
