"""`kepler_labels_hourly`: a run for the hour that just ended, whether or not anything changed in it."""

import dagster as dg

from podpower.hours import HOUR_S
from podpower_assets.partitions import hour_key
from podpower_assets.policies import LIMITED

hour_job = dg.define_asset_job(
    "finished_hour",
    selection=["workload_specs", "features", "kepler_labels", "job_labels", "training_rows"],
    tags=LIMITED,
    description="The specs, features, labels and training rows of one hour.",
)


@dg.schedule(
    name="kepler_labels_hourly",
    job=hour_job,
    cron_schedule="7 * * * *",  # the last samples and the margin behind the hour have come in
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def kepler_labels_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the hour before the running one."""
    hour = hour_key(context.scheduled_execution_time.timestamp() - HOUR_S)
    return dg.RunRequest(run_key=hour, partition_key=hour)
