"""Definitions: everything that Dagster loads."""

import dagster as dg

from podpower_assets.alerts import run_failures
from podpower_assets.features.assets import encoder, features
from podpower_assets.labels.assets import kepler_labels
from podpower_assets.labels.jobs import job_labels
from podpower_assets.labels.schedules import hour_job, kepler_labels_hourly
from podpower_assets.model.assets import knn_model, promoted_model
from podpower_assets.model.evaluation import model_evaluation
from podpower_assets.model.schedules import evaluation_job, knn_model_daily, model_evaluation_daily, model_job
from podpower_assets.model.sensors import drifted
from podpower_assets.policies import LIMITED
from podpower_assets.resources import resources_from
from podpower_assets.settings import LOADED
from podpower_assets.specs.assets import workload_specs
from podpower_assets.specs.sensors import workload_changes
from podpower_assets.training_rows.assets import training_rows

follow_changes = dg.AutomationConditionSensorDefinition(
    "follow_changes",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=LOADED.assets.sensor_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    run_tags=LIMITED,
    description="Materializes what depends on changed partitions: labels, rows, the model of today and its promotion.",
)

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

defs = dg.Definitions(
    assets=ASSETS,
    jobs=[hour_job, model_job, evaluation_job],
    schedules=[kepler_labels_hourly, knn_model_daily, model_evaluation_daily],
    sensors=[workload_changes, follow_changes, drifted, run_failures],
    resources=resources_from(LOADED),
    # Partitions are small: a process for each of their steps would cost more than the step.
    executor=dg.in_process_executor,
)
