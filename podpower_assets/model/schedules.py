"""`knn_model_daily`: the day that just ended, with all its hours."""

import dagster as dg

from podpower_assets.partitions import HOUR_S, day_key
from podpower_assets.policies import LIMITED

model_job = dg.define_asset_job(
    "finished_day",
    selection=["knn_model", "promoted_model", "model_evaluation"],
    tags=LIMITED,
    description="The model of one day, its promotion, and how good the day before's was.",
)


@dg.schedule(
    name="knn_model_daily",
    job=model_job,
    cron_schedule="25 0 * * *",  # after the day's last hour was training_set
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def knn_model_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """The day before the one that is running."""
    day = day_key(context.scheduled_execution_time.timestamp() - 24 * HOUR_S)
    return dg.RunRequest(run_key=day, partition_key=day)
