"""A code location with a sensor, a schedule and an asset, for tests of Dagster's daemons."""

import dagster as dg


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def work() -> None:
    """Do nothing."""
    nothing()


@dg.sensor(job=work, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def looks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Request two runs for each number."""
    number = int(context.cursor or 0) + 1
    requests = [dg.RunRequest(run_key=f"{number} {run}") for run in (1, 2)]
    return dg.SensorResult(run_requests=requests, cursor=str(number))


@dg.schedule(
    job=work,
    cron_schedule="7 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request one run an hour."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1))
def table() -> None:
    """Hold nothing."""


DEFINITIONS = dg.Definitions(assets=[table], jobs=[work], sensors=[looks], schedules=[hourly])
