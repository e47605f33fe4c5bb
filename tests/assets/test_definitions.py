"""What Dagster loads, and what people see of it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from podpower.errors import InvalidInput
from podpower.settings import Settings
from podpower.sources.journal.format import JournalMeta, sealed
from podpower_assets.alerts import FIXES
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.definitions import definitions
from podpower_assets.partitions import day_key, hour_key, hour_start_s
from tests.assets.conftest import DEFS, HOURS, PARTITIONS

FIVE = ("workload_specs", "features", "kepler_labels", "training_rows", "knn_model")
ASSETS = sorted([*FIVE, "encoder", "job_labels", "promoted_model", "model_evaluation", "fleet_summary"])
GRAPH = DEFS.resolve_asset_graph()


EXTERNAL = ["cluster_journal", "prediction_service", "prometheus"]


def test_the_asset_keys_are_these() -> None:
    found = sorted(key.to_user_string() for key in GRAPH.get_all_asset_keys())
    assert found == sorted([*ASSETS, *EXTERNAL])
    assert sorted(key.to_user_string() for key in GRAPH.external_asset_keys) == EXTERNAL


def test_one_group_goes_from_the_sources_to_the_service() -> None:
    """The UI unfolds a group that is alone."""
    assert {GRAPH.get(key).group_name for key in GRAPH.get_all_asset_keys()} == {"podpower"}
    parents = {key.to_user_string(): {p.to_user_string() for p in GRAPH.get(key).parent_keys} for key in
               GRAPH.get_all_asset_keys()}  # fmt: skip
    assert parents["workload_specs"] == {"cluster_journal"}
    assert parents["kepler_labels"] == parents["job_labels"] == {"workload_specs", "prometheus"}
    assert parents["prediction_service"] == {"promoted_model", "fleet_summary"}
    assert {name for name, above in parents.items() if not above} == {"cluster_journal", "prometheus"}


def test_each_further_cluster_has_its_sources_and_one_group() -> None:
    graph = definitions(Settings(), [FIRST, Cluster("eu-2"), Cluster("us-1")]).resolve_asset_graph()
    groups: dict[str | None, set[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, set()).add(key.to_user_string())
    hourly = {"workload_specs", "features", "kepler_labels", "job_labels", "training_rows"}
    own = hourly | {"cluster_journal", "prometheus"}
    assert groups == {
        "podpower": {*ASSETS, *EXTERNAL},
        "eu_2": {f"eu-2/{name}" for name in own},
        "us_1": {f"us-1/{name}" for name in own},
    }


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_has_a_description_and_an_owner(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name))
    assert node.description
    assert node.owners
    assert node.kinds
    assert node.group_name != "default"
    assert node.code_version


@pytest.mark.parametrize("name", FIVE)
def test_each_of_the_five_has_checks_and_is_partitioned_and_backfilled_in_bounded_runs(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name))
    assert node.check_keys
    assert node.partitions_def is not None
    assert node.backfill_policy == dg.BackfillPolicy.multi_run(max_partitions_per_run=24)
    of_partitions = [check for check in node.check_keys if not check.name.endswith("_fresh")]
    assert all(GRAPH.get(check).partitions_def == node.partitions_def for check in of_partitions)


@pytest.mark.parametrize(
    ("definition", "key_of"), [(PARTITIONS.hours, hour_key), (PARTITIONS.days, day_key)], ids=["hour", "day"]
)
def test_the_running_hour_and_day_are_the_last_partitions(
    definition: dg.TimeWindowPartitionsDefinition, key_of: Callable[[float], str]
) -> None:
    before = key_of(time.time())
    last = definition.get_last_partition_key()
    assert last in {before, key_of(time.time())}  # the hour may end between two lines


def first_key(environment: dict[str, str]) -> str:
    graph = definitions(Settings(environment)).resolve_asset_graph()
    partitions = graph.get(dg.AssetKey("workload_specs")).partitions_def
    assert partitions is not None
    return partitions.get_partition_keys()[0]


def test_partitions_begin_where_the_data_begin(recording: Path, tmp_path: Path) -> None:
    place = {"PODPOWER_RECORDING": str(recording), "PODPOWER_HOME": str(tmp_path)}
    assert first_key(place) == HOURS[0]
    assert first_key(place | {"PODPOWER_PARTITIONS_START": "2025-12-31-00:00"}) == "2025-12-31-00:00"


def test_partitions_of_a_live_cluster_begin_with_the_samples_from_before_it_was_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s)
    place = {"PODPOWER_HOME": str(tmp_path), "PODPOWER_PROMETHEUS_URL": "http://127.0.0.1:9"}
    assert first_key(place) == hour_key(now_s - 7 * 86_400)  # nothing is observed yet
    meta = JournalMeta(journal_id="j", cluster="c", start_s=hour_start_s("2026-11-20-10:00") + 60)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal.json").write_bytes(sealed(meta))
    assert first_key(place) == "2026-11-19-10:00"
    assert first_key(place | {"PODPOWER_HISTORY_HOURS": "2"}) == "2026-11-20-08:00"


def test_a_cluster_that_is_not_observed_yet_does_not_move_the_first_partition(recording: Path, tmp_path: Path) -> None:
    """Runs that start after its first observation would lack the hours that were requested before."""
    file = tmp_path / "clusters.yaml"
    file.write_text(f"clusters:\n- {{name: main, recording: {recording}}}\n- {{name: edge, kubeconfig: {file}}}\n")
    place = {"PODPOWER_HOME": str(tmp_path), "PODPOWER_CLUSTERS": str(file), "PODPOWER_WINDOW_DAYS": "900"}
    assert first_key(place) == HOURS[0]


def test_a_cluster_that_cannot_be_read_stops_no_other(recording: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "recording.json").write_text("{")
    file = tmp_path / "clusters.yaml"
    names = {"one": broken, "two": recording}
    file.write_text("clusters:\n" + "".join(f"- {{name: {name}, recording: {at}}}\n" for name, at in names.items()))
    place = {"PODPOWER_HOME": str(tmp_path)}
    assert first_key(place | {"PODPOWER_CLUSTERS": str(file)}) == HOURS[0]
    with pytest.raises(InvalidInput):
        first_key(place | {"PODPOWER_RECORDING": str(broken)})


def test_runs_that_automation_requests_are_tagged_with_its_name() -> None:
    sensor = DEFS.get_repository_def().get_sensor_def("follow_changes")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.run_tags["podpower/job"] == "follow_changes"


def test_a_code_server_can_load_the_definitions() -> None:
    """It resolves every job, those that sensors imply included."""
    dg.Definitions.validate_loadable(DEFS)


def test_sensors_and_schedules_run_from_the_start() -> None:
    repository = DEFS.get_repository_def()
    sensors = {s.name: s.default_status for s in repository.sensor_defs}
    schedules = {s.name: s.default_status for s in repository.schedule_defs}
    assert sensors == dict.fromkeys(
        (
            "workload_changes",
            "damaged_encoder",
            "damaged_tables",
            "follow_changes",
            "fleet_changes",
            "drifted",
            "missed_days",
            "lost_retries",
            "freshness",
            "alerts",
        ),
        dg.DefaultSensorStatus.RUNNING,
    )
    names = ("kepler_labels_hourly", "knn_model_daily", "model_evaluation_daily", "retention_daily")
    assert schedules == dict.fromkeys(names, dg.DefaultScheduleStatus.RUNNING)


def test_loading_imports_nothing_that_only_some_runs_need() -> None:
    """Each run is a process of its own that loads the definitions first."""
    heavy = "{'kubernetes', 'matplotlib', 'pandas', 'scipy', 'sklearn'}"
    code = f"import sys, podpower_assets.definitions; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_nothing_reads_the_environment_at_import() -> None:
    """Dagster calls `defs`; an import alone, as of tests and tools, is the same with any environment."""
    code = "from podpower_assets.definitions import defs; print('imported'); defs()"
    bad = {**os.environ, "PODPOWER_WINDOW_DAYS": "a week"}
    loaded = subprocess.run([sys.executable, "-c", code], env=bad, capture_output=True, text=True, check=False)
    assert loaded.stdout == "imported\n"
    assert "InvalidInput: PODPOWER_WINDOW_DAYS: 'a week' is not a whole number" in loaded.stderr


def test_settings_decide_the_first_partitions_the_window_and_the_interval_of_sensors() -> None:
    given = {
        "PODPOWER_PARTITIONS_START": "2026-01-31-22:00",
        "PODPOWER_WINDOW_DAYS": "2",
        "PODPOWER_SENSOR_SECONDS": "5",
    }
    loaded = definitions(Settings(given))
    graph = loaded.resolve_asset_graph()
    first = {key.to_user_string(): graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    keys = {name: own.get_partition_keys()[0] for name, own in first.items() if own is not None}
    daily = {"knn_model", "promoted_model", "model_evaluation"}
    assert keys == {name: "2026-01-31" if name in daily else "2026-01-31-22:00" for name in keys}
    assert set(keys) == set(ASSETS) - {"encoder"}
    rows = dg.AssetKey("training_rows")
    for name in ("knn_model", "model_evaluation"):
        mapping = graph.get(dg.AssetKey(name)).partition_mappings[rows]
        assert isinstance(mapping, dg.TimeWindowPartitionMapping)
        assert mapping.start_offset == -1
    sensors = {s.name: s.minimum_interval_seconds for s in loaded.get_repository_def().sensor_defs}
    assert sensors["workload_changes"] == sensors["follow_changes"] == 5


OPERATE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "operate.md").read_text()


def test_the_operations_page_has_each_sensor_and_schedule_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \((sensor|schedule)\) \|", OPERATE, flags=re.MULTILINE)
    sensors = [(sensor.name, "sensor") for sensor in DEFS.sensors or ()]
    schedules = [(schedule.name, "schedule") for schedule in DEFS.schedules or ()]
    assert sorted(rows) == sorted([*sensors, *schedules])


def test_the_operations_page_has_each_check_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+: \w+)` \|", OPERATE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(f"{key.asset_key.to_user_string()}: {key.name}" for key in GRAPH.asset_check_keys)


@pytest.mark.parametrize("name", FIXES)
def test_an_alert_and_the_operations_page_give_the_same_first_step_for_a_check(name: str) -> None:
    assert name in {key.name for key in GRAPH.asset_check_keys}
    rows = re.findall(rf"^\| `\w+: {name}` \|.*\| (.*) \|$", OPERATE, flags=re.MULTILINE)
    assert rows
    assert all(row.startswith(FIXES[name].removesuffix(".")) for row in rows)


def test_a_cluster_without_a_meter_has_specs_only() -> None:
    loaded = definitions(Settings(), [FIRST, Cluster("edge", has_meter=False)])
    graph = loaded.resolve_asset_graph()
    edge = {key.to_user_string() for key in graph.get_all_asset_keys() if key.path[0] == "edge"}
    assert edge == {"edge/cluster_journal", "edge/workload_specs", "edge/features"}
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} >= {"edge", "kepler_labels"}
    for name in ("finished_hour_edge", "changed_hours_edge"):
        chosen = loaded.resolve_job_def(name).asset_layer.selected_asset_keys
        assert {key.to_user_string() for key in chosen} - {"encoder"} == edge - {"edge/cluster_journal"}
    assert dg.AssetKey(["edge", "training_rows"]) not in graph.get(dg.AssetKey("knn_model")).parent_keys
    assert dg.AssetKey(["edge", "workload_specs"]) in graph.get(dg.AssetKey("fleet_summary")).parent_keys
