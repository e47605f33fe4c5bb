"""Assets made over a real recording by real runs."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.model.predictor import Predictor
from podpower.registry.store import ModelStore
from podpower.simulation import simulate
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.table import requests_of
from podpower_assets.materialize import materialize_recording
from podpower_assets.model.window import reencode, window_rows
from podpower_assets.partitions import hours_between
from tests.assets.conftest import DAY, HOURLY, HOURS, START_S, Place


def events(result: dg.ExecuteInProcessResult, name: str) -> list[dg.AssetMaterialization]:
    found = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    return [m for m in found if m.asset_key.to_user_string() == name]


def test_one_run_makes_every_hour_a_file_of_its_own(made: Place) -> None:
    for name in ("workload_specs", "features", "kepler_labels", "training_rows"):
        assert made.tables.partitions(name) == HOURS


def test_rows_are_the_labels_that_have_a_spec(made: Place) -> None:
    labels, rows = made.tables.read("kepler_labels", HOURS[1]), made.tables.read("training_rows", HOURS[1])
    assert labels is not None
    assert rows is not None
    rows = rows.drop_nulls("ts")
    assert 0.9 * len(labels) <= len(rows) <= len(labels)
    assert rows["encoder_fingerprint"].unique().to_list() == [made.tables.encoder().fingerprint]  # type: ignore[union-attr]


def test_ended_pods_have_labels_and_completed_runs_become_rows(made: Place) -> None:
    jobs, rows = made.tables.read("job_labels", HOURS[1]), made.tables.read("training_rows", HOURS[1])
    assert jobs is not None
    assert rows is not None
    assert jobs["end_s"].is_between(START_S + 3600, START_S + 7200).all()
    runs = rows.filter(pl.col("ts").is_null())
    assert set(runs["workload_kind"]) == {"CronJob"}
    assert len(runs) == len(jobs.filter((pl.col("outcome") == "succeeded") & (pl.col("known_share") >= 0.5)))


def test_a_cron_jobs_energy_a_run_is_predicted(made: Place) -> None:
    store = made.models.open()
    version = store.served()
    assert version is not None
    specs = made.tables.read("workload_specs", HOURS[1])
    assert specs is not None
    specs = specs.filter(pl.col("workload_name").is_in(["backup", "frontend"]))
    specs = specs.unique("workload_name").sort("workload_name")
    backup, frontend = Predictor(*store.load(version), version=version).predict(requests_of(specs))
    truth = pl.concat(pl.read_parquet(p) for p in Path(made.source.recording).glob("truth/*/*.parquet"))
    runs = truth.filter(pl.col("pod").str.starts_with("backup-")).group_by("uid").agg(pl.col("dynamic_j").sum())
    assert backup.pred_total_energy_j == pytest.approx(runs["dynamic_j"].mean(), rel=0.15)
    assert frontend.pred_total_energy_j is None


def test_a_partition_made_again_is_the_same(made: Place) -> None:
    before = {name: made.tables.read(name, HOURS[0]) for name in HOURLY if name != "encoder"}
    assert made.materialize(*before, first=HOURS[0]).success
    for name, table in before.items():
        assert_frame_equal(made.tables.read(name, HOURS[0]), table)


def test_hashes_of_an_older_podpower_are_made_again_from_the_stored_specs(made: Place) -> None:
    encoder = made.tables.encoder()
    assert encoder is not None
    expected = TrainingSet.of(window_rows([made.tables], DAY, window_days=1, encoder=encoder)[0])
    tables = {(n, h): made.tables.read(n, h) for n in ("workload_specs", "training_rows") for h in HOURS}
    old = (pl.lit("old-") + pl.col("_spec_hash")).alias("_spec_hash")
    try:
        for (name, hour), table in tables.items():
            assert table is not None
            made.tables.write(name, hour, table.with_columns(old).drop("spec_hash_version"))
        rows, window = window_rows([made.tables], DAY, window_days=1, encoder=encoder)
        assert window.rows_of_older_hashes == 0
        read = TrainingSet.of(rows)
        assert list(read.entries.spec_hashes) == list(expected.entries.spec_hashes)
        np.testing.assert_array_equal(read.entries.vectors, expected.entries.vectors)
        assert read.older_hashes == 0
        known, _ = reencode([made.tables], encoder, expected.pods())
        assert len(known) == len(expected.pods())
        for hour in HOURS:
            made.tables.path("workload_specs", hour).unlink()
        rows, window = window_rows([made.tables], DAY, window_days=1, encoder=encoder)
        assert window.rows_of_older_hashes == window.rows > 0
        assert TrainingSet.of(rows).older_hashes == len(expected.entries)
    finally:
        for (name, hour), table in tables.items():
            assert table is not None
            made.tables.write(name, hour, table)


def test_people_see_counts_schemas_reasons_and_plots(made: Place) -> None:
    result = made.materialize("kepler_labels", "training_rows", first=HOURS[0], last=HOURS[1])
    labels = events(result, "kepler_labels")
    assert [m.partition for m in labels] == HOURS
    assert {"dagster/row_count", "dagster/column_schema", "null_reasons", "total_energy_j"} <= set(labels[0].metadata)
    assert {"join_rate", "unjoined"} <= set(events(result, "training_rows")[0].metadata)
    model = events(made.materialize("knn_model", first=DAY), "knn_model")[0].metadata
    assert {"model_version", "unseen_scores", "time_scores"} <= set(model)


FIRST_THREE = {
    "workload_specs": ("specs", "pods", "rejected"),
    "features": ("vectors", "dim", "not_finite"),
    "kepler_labels": ("known_steps", "pods", "total_energy_j"),
    "job_labels": ("ended_pods", "known", "total_energy_j"),
    "training_rows": ("rows", "join_rate", "specs"),
    "knn_model": ("unseen_workloads_wape", "unseen_workloads_log_r2", "unseen_workloads_coverage"),
    "promoted_model": ("wape", "log_r2", "coverage"),
    "fleet_summary": ("measured_w", "predicted_w", "pods"),
}


def test_three_figures_come_first_then_a_small_plot_and_tables_are_narrow(made: Place) -> None:
    hourly = [name for name, first in FIRST_THREE.items() if first[0] not in {"wape", "unseen_workloads_wape"}]
    results = [made.materialize(*hourly, first=HOURS[0]), made.materialize("knn_model", "promoted_model", first=DAY)]
    found = {}
    for name, first in FIRST_THREE.items():
        metadata = next(iter(e for result in results for e in events(result, name))).metadata
        assert tuple(metadata)[:3] == first, name
        assert all(isinstance(metadata[key].value, int | float) for key in first), name
        tables = [value for value in metadata.values() if isinstance(value, dg.TableMetadataValue)]
        assert all(len(table.schema.columns) <= 4 for table in tables), name
        found[name] = dict(metadata)
    for name, key, unit in (("kepler_labels", "power", "W"), ("training_rows", "power", "W"),
                            ("knn_model", "measured", ""), ("fleet_summary", "measured_workloads", "W")):  # fmt: skip
        assert re.fullmatch(rf"[▁▂▃▄▅▆▇█\xa0]+ \S+ {unit}.* to .*", str(found[name][key].value)), found[name][key]


def test_reports_open_by_a_link_to_the_prediction_service(made: Place) -> None:
    result = made.materialize("knn_model", "promoted_model", first=DAY)
    candidate, promoted = (events(result, name)[0].metadata for name in ("knn_model", "promoted_model"))
    version = str(candidate["model_version"].value)
    assert candidate["report"] == dg.MetadataValue.url(f"http://127.0.0.1:8000/models/{version}/report")
    page = made.models.open().report(version).decode()
    assert page.startswith("<!doctype html>")
    assert f"How good is the model of {DAY}?" in page
    assert str(promoted["serving"].value) in str(promoted["report"].value)


def test_the_good_model_is_promoted_and_stored(made: Place) -> None:
    store = made.models.open()
    version = store.served()
    assert version is not None
    encoder, model = store.load(version)
    assert encoder.fingerprint == model.encoder_fingerprint
    assert store.info(version).metadata["partition"] == DAY


def test_a_model_of_an_older_day_never_replaces_a_newer(made: Place) -> None:
    store = made.models.open()
    served = store.served()
    assert served is not None
    encoder, model = store.load(served)
    model.trained_at = "2026-02-01T00:00:00+00:00"  # however late it was trained
    store.add(encoder, model, metadata={"partition": "2025-12-31"})
    assert made.materialize("promoted_model", first="2025-12-31").success
    assert store.served() == served


def test_an_hour_before_the_recording_has_no_data_which_is_no_success(place: Place) -> None:
    result = place.materialize("workload_specs", "kepler_labels", first="2025-12-01-00:00")
    assert not result.success
    failed = {e.check_name: e.description for e in result.get_asset_check_evaluations() if not e.passed}
    assert failed == {"hour_has_specs": "no data: no workload is known in this hour"}
    assert place.tables.partitions("kepler_labels") == []


def test_of_a_range_the_hours_before_the_recording_fail_their_check_only(place: Place) -> None:
    first = hours_between(START_S - 3600, START_S)
    result = place.materialize(*HOURLY, first=first[0], last=HOURS[0])
    assert result.success
    failed = [(e.check_name, e.partition) for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed == [("hour_has_specs", first[0])]
    assert place.tables.partitions("training_rows") == HOURS[:1]


def test_features_without_specs_are_not_written(place: Place) -> None:
    result = place.materialize("features", first=HOURS[0])
    assert not result.success
    assert place.tables.partitions("features") == []


def test_two_runs_of_one_partition_at_once_leave_a_whole_file(made: Place, recording: Path) -> None:
    table = made.tables.read("kepler_labels", HOURS[0])
    assert table is not None
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: made.tables.write("race", HOURS[0], table), range(12)))
    assert_frame_equal(made.tables.read("race", HOURS[0]), table)
    assert made.tables.partitions("race") == [HOURS[0]]


def test_a_damaged_partition_is_named(made: Place) -> None:
    path = made.tables.path("damaged", HOURS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        made.tables.read("damaged", HOURS[0])


def test_rows_of_another_encoder_are_left_out_and_counted(made: Place, tmp_path: Path) -> None:
    other = Encoder.fit(
        [InferenceRequest(workload_kind="Job", workload_name=n, containers=[Container(image=n)]) for n in ("a", "b")]
    )
    rows = made.tables.read("training_rows", HOURS[0])
    assert rows is not None
    foreign = rows.with_columns(pl.lit(other.fingerprint).alias("encoder_fingerprint"))
    made.tables.write("training_rows", HOURS[0], foreign)
    try:
        metadata = events(made.materialize("knn_model", first=DAY), "knn_model")[0].metadata
        assert metadata["hours"].value == len(HOURS)
        assert metadata["rows_of_other_encoders"].value == len(rows)
    finally:
        made.tables.write("training_rows", HOURS[0], rows)


def test_a_recording_before_the_first_partition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "recording", seed=1, start_s=1700000000.0, hours=0.1, workloads=2)
    monkeypatch.setenv("PODPOWER_RECORDING", str(tmp_path / "recording"))
    monkeypatch.setenv("PODPOWER_PARTITIONS_START", "2025-01-01-00:00")
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(InvalidInput, match="set PODPOWER_PARTITIONS_START"):
        materialize_recording(instance)


def test_the_whole_recording_is_materialized_by_one_call(recording: Path, tmp_path: Path) -> None:
    """What `python -m podpower_assets.materialize` does, on an instance whose resources come from the environment."""
    environment = {**os.environ, "PODPOWER_RECORDING": str(recording), "PODPOWER_HOME": str(tmp_path)}
    environment["DAGSTER_HOME"] = str(tmp_path)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = [sys.executable, "-m", "podpower_assets.materialize"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ModelStore(tmp_path / "models").served() is not None


def test_labels_of_excluded_namespaces_are_not_kept_so_that_purged_ones_do_not_come_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.materialize("workload_specs", first=HOURS[0])
    excluded = {"shop", "ml"}
    whole: dict[str, set[str]] = {}
    for names in ("", ",".join(excluded)):
        monkeypatch.setenv("PODPOWER_EXCLUDE_NAMESPACES", names)
        assert place.materialize("kepler_labels", "job_labels", first=HOURS[0]).success
        for asset in ("kepler_labels", "job_labels"):
            table = place.tables.read(asset, HOURS[0])
            assert table is not None
            found = set(table["namespace"])
            if names:
                assert found == whole[asset] - excluded
            whole[asset] = found
    assert whole["kepler_labels"]
