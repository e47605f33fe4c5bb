"""`knn_model_daily` and `model_evaluation_daily`: runs for the day that just ended."""

import dagster as dg

from podpower.hours import DAY_S
from podpower_assets.model.assets import NAME, PROMOTED
from podpower_assets.model.evaluation import NAME as EVALUATION
from podpower_assets.partitions import day_key
from podpower_assets.policies import LIMITED

model_job = dg.define_asset_job(
    "finished_day",
    selection=[NAME, PROMOTED],
    tags=LIMITED,
    description="The model of one day and its promotion.",
)
# A job of its own: a candidate that fails its checks does not stop the evaluation of what was served.
evaluation_job = dg.define_asset_job(
    "served_day",
    selection=[EVALUATION],
    tags=LIMITED,
    description="The evaluation of what was served on one day.",
)


@dg.schedule(
    name="knn_model_daily",
    job=model_job,
    cron_schedule="25 0 * * *",  # after the last hour of the day was labelled
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def knn_model_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the day before the running one."""
    day = day_key(context.scheduled_execution_time.timestamp() - DAY_S)
    return dg.RunRequest(run_key=day, partition_key=day)


@dg.schedule(
    name="model_evaluation_daily",
    job=evaluation_job,
    cron_schedule="35 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def model_evaluation_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the day before the running one."""
    day = day_key(context.scheduled_execution_time.timestamp() - DAY_S)
    return dg.RunRequest(run_key=day, partition_key=day)
