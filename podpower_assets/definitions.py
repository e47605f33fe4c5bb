"""Definitions: everything that Dagster loads.

Dagster calls `defs` when it loads this module. The environment is read then, once, for partitions, sensors and places
of data; runs read credentials and addresses when they start, see `resources`.
"""

import dagster as dg

from podpower import settings
from podpower_assets.alerts import run_failures
from podpower_assets.features.assets import encoder, features
from podpower_assets.labels.assets import kepler_labels
from podpower_assets.labels.jobs import job_labels
from podpower_assets.labels.schedules import hour_job, kepler_labels_hourly
from podpower_assets.model.assets import knn_model, promoted_model
from podpower_assets.model.evaluation import model_evaluation
from podpower_assets.model.schedules import evaluation_job, knn_model_daily, model_evaluation_daily, model_job
from podpower_assets.model.sensors import drifted
from podpower_assets.partitions import with_settings
from podpower_assets.policies import LIMITED
from podpower_assets.resources import resources_from
from podpower_assets.specs.assets import workload_specs
from podpower_assets.specs.sensors import workload_changes
from podpower_assets.training_rows.assets import training_rows

ASSETS = (
    workload_specs,
    encoder,
    features,
    kepler_labels,
    job_labels,
    training_rows,
    knn_model,
    promoted_model,
    model_evaluation,
)


def definitions(given: settings.Settings) -> dg.Definitions:
    """Return everything that Dagster loads, with these settings."""
    follow_changes = dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=given.assets.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags=LIMITED,
        description="Materializes what depends on changed partitions: labels, rows, the model of today, its promotion.",
    )
    return dg.Definitions(
        assets=[with_settings(asset, given.assets) for asset in ASSETS],
        jobs=[hour_job, model_job, evaluation_job],
        schedules=[kepler_labels_hourly, knn_model_daily, model_evaluation_daily],
        sensors=[workload_changes(given.assets), follow_changes, drifted, run_failures],
        resources=resources_from(given),
        # Partitions are small: a process for each of their steps would cost more than the step.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions with the settings of this process."""
    return definitions(settings.read())
