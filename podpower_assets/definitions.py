"""Definitions: everything that Dagster loads.

Dagster calls `defs` when it loads this module. The environment is read then, once, for partitions, sensors and places
of data; runs read credentials and addresses when they start, see `resources`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from podpower import settings
from podpower_assets.alerts import alerts
from podpower_assets.automation import Pace
from podpower_assets.clusters import FIRST, Cluster, observed_clusters
from podpower_assets.damage import damaged_hours, damaged_tables
from podpower_assets.executor import partition_executor
from podpower_assets.features.assets import encoder, features
from podpower_assets.features.restoring import damaged_encoder, damaged_encoder_job
from podpower_assets.fleet.assets import NAME as FLEET
from podpower_assets.fleet.assets import fleet_summary
from podpower_assets.fleet.sensors import fleet_changes, fleet_hours
from podpower_assets.freshness import freshness_checks, freshness_sensor
from podpower_assets.labels.assets import kepler_labels
from podpower_assets.labels.jobs import job_labels
from podpower_assets.labels.schedules import changed_hours, finished_hour, kepler_labels_hourly
from podpower_assets.lineage import external_assets
from podpower_assets.lost_retries import lost_retries
from podpower_assets.model.assets import PROMOTED, knn_model, promoted_model
from podpower_assets.model.evaluation import model_evaluation
from podpower_assets.model.missed_days import missed_days
from podpower_assets.model.schedules import evaluation_job, knn_model_daily, model_evaluation_daily, model_job
from podpower_assets.model.sensors import drifted
from podpower_assets.partitions import Partitions, first_hour
from podpower_assets.policies import FOLLOWS, LIMITED
from podpower_assets.resources import resources_from
from podpower_assets.retention import retention_schedule
from podpower_assets.specs.assets import workload_specs
from podpower_assets.specs.sensors import workload_changes
from podpower_assets.training_rows.assets import training_rows


def cluster_assets(cluster: Cluster, partitions: Partitions) -> list[dg.AssetsDefinition]:
    """Return the hourly assets of one cluster."""
    measured = (kepler_labels, job_labels, training_rows) if cluster.has_meter else ()
    return [make(cluster, partitions) for make in (workload_specs, features, *measured)]


def assets(given: settings.AssetSettings, clusters: Sequence[Cluster] = (FIRST,)) -> list[dg.AssetsDefinition]:
    """Return the hourly assets of each cluster, and the assets that are one for all clusters."""
    partitions = Partitions.of(given)
    return [
        *(asset for cluster in clusters for asset in cluster_assets(cluster, partitions)),
        encoder(clusters),
        knn_model(clusters, partitions, Pace.of(given.remake_seconds)),
        promoted_model(partitions),
        model_evaluation(clusters, partitions),
        fleet_summary(clusters, partitions),
    ]


def jobs(clusters: Sequence[Cluster]) -> list[Any]:
    """Return the jobs of sensors and schedules, whose type has no public name."""
    of_each = (finished_hour, changed_hours, damaged_hours)
    return [
        *(job(cluster) for job in of_each for cluster in clusters),
        damaged_encoder_job,
        fleet_hours,
        model_job,
        evaluation_job,
    ]


def schedules(clusters: Sequence[Cluster], made: Sequence[dg.AssetsDefinition]) -> list[dg.ScheduleDefinition]:
    """Return the schedules: the hour of each cluster, and the days."""
    return [
        *map(kepler_labels_hourly, clusters),
        knn_model_daily,
        model_evaluation_daily,
        retention_schedule(clusters, made),
    ]


def sensors(given: settings.AssetSettings, clusters: Sequence[Cluster]) -> list[dg.SensorDefinition]:
    """Return the sensors: of what changed, of what is damaged or was missed, and those that only report."""
    return [
        *(workload_changes(given, cluster) for cluster in clusters),
        _follow_changes(given),
        fleet_changes(clusters, runs=given.fleet_sensor),
        *(damaged_tables(given, cluster) for cluster in clusters),
        damaged_encoder,
        drifted,
        missed_days(given),
        lost_retries,
        freshness_sensor(clusters),
        alerts,
    ]


def _follow_changes(given: settings.AssetSettings) -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=given.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags=LIMITED | FOLLOWS,
        use_user_code_server=True,  # which has `Remake`
        description="Materializes what depends on changed partitions: labels, rows, the model of today, its promotion.",
    )


def definitions(given: settings.Settings, clusters: Sequence[Cluster] = (FIRST,)) -> dg.Definitions:
    """Return everything that Dagster loads, with these settings."""
    own = replace(given.assets, partitions_start=first_hour(given))
    made = assets(own, clusters)
    return dg.Definitions(
        assets=[*made, *external_assets(clusters, served=[dg.AssetKey(PROMOTED), dg.AssetKey(FLEET)])],
        jobs=jobs(clusters),
        schedules=schedules(clusters, made),
        sensors=sensors(own, clusters),
        asset_checks=freshness_checks(clusters),
        resources=resources_from(given),
        executor=partition_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions with the settings of this process, and the clusters that they configure."""
    given = settings.read()
    return definitions(given, observed_clusters(given))
