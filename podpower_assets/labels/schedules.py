"""`kepler_labels_hourly`: a run for the hour that just ended, whether or not anything changed in it."""

from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from podpower.hours import HOUR_S
from podpower_assets.clusters import Cluster
from podpower_assets.features.assets import ENCODER
from podpower_assets.features.assets import NAME as FEATURES
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import hour_key
from podpower_assets.policies import LIMITED
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.training_rows.assets import NAME as ROWS

if TYPE_CHECKING:  # what `define_asset_job` returns has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

_WITHOUT_A_METER = (SPECS, FEATURES)
HOURLY_ASSETS = (*_WITHOUT_A_METER, LABELS, JOBS, ROWS)


def hourly_keys(cluster: Cluster) -> list[dg.AssetKey]:
    """Return the hourly assets of a cluster."""
    return [cluster.key(name) for name in (HOURLY_ASSETS if cluster.has_meter else _WITHOUT_A_METER)]


@cache  # Dagster wants one object for one name
def finished_hour(cluster: Cluster) -> "UnresolvedAssetJobDefinition":
    """Return the job of one hour of a cluster."""
    return dg.define_asset_job(
        cluster.named("finished_hour"),
        selection=hourly_keys(cluster),
        tags=LIMITED,
        description="The specs, features, labels and training rows of one hour.",
    )


@cache
def changed_hours(cluster: Cluster) -> "UnresolvedAssetJobDefinition":
    """Return the job of hours that changed; at first, it fits the encoder."""
    return dg.define_asset_job(
        cluster.named("changed_hours"),
        selection=[*hourly_keys(cluster), dg.AssetKey(ENCODER)],
        tags=LIMITED,
        description="The specs, features, labels and training rows of hours in which workloads changed.",
    )


def kepler_labels_hourly(cluster: Cluster) -> dg.ScheduleDefinition:
    """Return the schedule of a cluster."""

    @dg.schedule(
        name=cluster.named("kepler_labels_hourly"),
        job=finished_hour(cluster),
        cron_schedule="7 * * * *",  # the last samples and the margin behind the hour have come in
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        """Request the hour before the running one."""
        hour = hour_key(context.scheduled_execution_time.timestamp() - HOUR_S)
        return dg.RunRequest(run_key=hour, partition_key=hour)

    return schedule
