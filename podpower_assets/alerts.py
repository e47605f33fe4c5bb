"""Alerts: a failed run is logged and posted."""

import dagster as dg
import httpx

from podpower import settings

_TIMEOUT_SECONDS = 10.0


@dg.run_failure_sensor(
    name="run_failures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs every failed run, and posts it to PODPOWER_ALERT_WEBHOOK where that is set.",
)
def run_failures(context: dg.RunFailureSensorContext) -> None:
    """Report id, job and partition of the run, and the first line of its error, which contains no credentials."""
    run = context.dagster_run
    event = {
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", ""),
        "error": (context.failure_event.message or "").splitlines()[0] if context.failure_event.message else "",
    }
    context.log.error("run %(run_id)s of %(job)s failed for %(partition)s: %(error)s", event)
    webhook = settings.read().assets.alert_webhook
    if webhook:
        httpx.post(webhook, json=event, timeout=_TIMEOUT_SECONDS).raise_for_status()
