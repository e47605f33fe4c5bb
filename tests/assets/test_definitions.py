"""What Dagster loads, and what people see of it."""

import subprocess
import sys
import time

import dagster as dg
import pytest

from podpower_assets.definitions import defs
from podpower_assets.partitions import HOURLY as HOURLY_PARTITIONS
from podpower_assets.partitions import hour_key

FIVE = ("workload_specs", "features", "kepler_labels", "training_rows", "knn_model")
ASSETS = sorted([*FIVE, "encoder", "job_labels", "promoted_model", "model_evaluation"])
GRAPH = defs.resolve_asset_graph()


def test_the_asset_keys_are_these() -> None:
    assert sorted(key.to_user_string() for key in GRAPH.get_all_asset_keys()) == ASSETS


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_tells_what_it_is_and_whose(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name))
    assert node.description
    assert node.owners
    assert node.kinds
    assert node.group_name != "default"
    assert node.code_version


@pytest.mark.parametrize("name", FIVE)
def test_each_of_the_five_has_checks_and_is_partitioned_and_backfilled_in_one_run(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name))
    assert node.check_keys
    assert node.partitions_def is not None
    assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_the_running_hour_exists_as_a_partition() -> None:
    before = hour_key(time.time())
    keys = HOURLY_PARTITIONS.get_partition_keys()
    assert keys[-1] in {before, hour_key(time.time())}


def test_the_first_hour_is_that_of_the_settings_and_the_ui_shows_all_quickly() -> None:
    keys = HOURLY_PARTITIONS.get_partition_keys()
    assert keys[0] == "2025-01-01-00:00"
    assert len(keys) < 100_000


def test_sensors_and_schedules_run_from_the_start() -> None:
    repository = defs.get_repository_def()
    sensors = {s.name: s.default_status for s in repository.sensor_defs}
    schedules = {s.name: s.default_status for s in repository.schedule_defs}
    assert sensors == dict.fromkeys(
        ("workload_changes", "follow_changes", "drifted", "run_failures"), dg.DefaultSensorStatus.RUNNING
    )
    names = ("kepler_labels_hourly", "knn_model_daily", "model_evaluation_daily")
    assert schedules == dict.fromkeys(names, dg.DefaultScheduleStatus.RUNNING)


def test_loading_imports_nothing_that_only_some_runs_need() -> None:
    """Each run is a process of its own that loads the definitions first."""
    heavy = "{'kubernetes', 'matplotlib', 'pandas', 'scipy', 'sklearn'}"
    code = f"import sys, podpower_assets.definitions; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
