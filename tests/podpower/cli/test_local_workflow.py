"""The local workflow of the README, command by command, on a small simulated recording; each a process of its own."""

import json
import subprocess
import sys

import polars as pl
import pytest

ARTIFACTS = "--encoder artifacts/encoder.joblib --model artifacts/knn_energy.joblib"
STEPS = (
    "simulate --out data/recording --hours 3 --workloads 20 --seed 7",
    "collect from-file data/recording",
    "encode fit --input data/in.ndjson --out artifacts/encoder.joblib --no-sbert",
    "encode transform --input data/in.ndjson --encoder artifacts/encoder.joblib --out data/features.parquet",
    "label --recording data/recording --out data/labels.parquet",
    "join --features data/features.parquet --labels data/labels.parquet --out data/train_rows.parquet",
    "train --train data/train_rows.parquet --out artifacts/knn_energy.joblib --json",
    f"predict {ARTIFACTS} --input data/in.ndjson --format json",
    "evaluate --train data/train_rows.parquet --html report.html --json",
)


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """The folder after all steps, and what each printed by its first word."""
    folder = tmp_path_factory.mktemp("local")
    printed = {}
    for step in STEPS:
        done = subprocess.run(
            [sys.executable, "-m", "podpower", *step.split()],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{step}: {done.stderr}"
        assert "Traceback" not in done.stderr
        name = step.split(maxsplit=1)[0]
        printed[name] = done.stdout
        if name == "collect":
            (folder / "data" / "in.ndjson").write_text(done.stdout)
    return folder, printed


def test_every_label_joins_at_most_once_and_most_do(workflow):
    folder, _ = workflow
    labels = pl.read_parquet(folder / "data" / "labels.parquet")
    rows = pl.read_parquet(folder / "data" / "train_rows.parquet")
    assert 0.95 * len(labels) <= len(rows) <= len(labels)
    assert rows.select("ts", "namespace", "pod").is_unique().all()
    assert set(labels.columns) >= {"ts", "namespace", "workload_kind", "workload_name", "pod", "energy_step_j"}


def test_unknown_energy_has_a_reason(workflow):
    folder, _ = workflow
    labels = pl.read_parquet(folder / "data" / "labels.parquet")
    assert (labels["energy_step_j"].is_null() == labels["reason"].is_not_null()).all()
    assert 0 < labels["energy_step_j"].null_count() < len(labels) / 2


def test_training_reports_the_grouped_cross_validation_beside_the_baselines(workflow):
    _, printed = workflow
    report = json.loads(printed["train"])
    scores = report["cross_validation"]["unseen workloads"]["scores"]
    assert set(scores) == {"podpower", "constant", "image mean", "physical estimate", "reference recipe"}
    assert report["energy"] == "dynamic"
    assert report["training_size"]["workloads"] > 10


def test_predictions_of_measured_specs_rest_on_their_own_labels(workflow):
    folder, printed = workflow
    predictions = json.loads(printed["predict"])["predictions"]
    assert len(predictions) == len((folder / "data" / "in.ndjson").read_text().splitlines())
    seen = [p for p in predictions if p["basis"] == "seen"]
    assert len(seen) > len(predictions) / 2
    rows = pl.read_parquet(folder / "data" / "train_rows.parquet")
    own = rows.filter((pl.col("workload_name") == "frontend") & (pl.col("namespace") == "shop"))
    by_spec = dict(own.group_by("_spec_hash").agg(pl.col("energy_step_j").mean()).iter_rows())
    frontend = [p for p in seen if p["workload_name"] == "frontend" and p["spec_hash"] in by_spec]
    assert frontend
    for prediction in frontend:
        assert prediction["pred_energy_step_j"] == pytest.approx(by_spec[prediction["spec_hash"]], rel=0.1)


def test_the_evaluation_is_printed_and_reported(workflow):
    folder, printed = workflow
    splits = {split["name"]: split for split in json.loads(printed["evaluate"])["splits"]}
    forward = splits["time forward"]["scores"]
    assert forward["podpower"]["wape"] < forward["constant"]["wape"]
    assert "Unseen workloads" in (folder / "report.html").read_text()


def test_job_labels_train_a_model_of_whole_runs(workflow):
    folder, _ = workflow
    for step in (
        "label --recording data/recording --mode job --out data/jobs.parquet",
        "join --features data/features.parquet --labels data/jobs.parquet --out data/job_rows.parquet",
        "train --train data/job_rows.parquet --target total_energy_j --out artifacts/jobs.joblib",
        "predict --encoder artifacts/encoder.joblib --model artifacts/jobs.joblib --input data/in.ndjson --format json",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "podpower", *step.split()],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{step}: {done.stderr}"
    by_kind = {p["workload_kind"]: p["pred_total_energy_j"] for p in json.loads(done.stdout)["predictions"]}
    assert by_kind["CronJob"] > 0
    assert by_kind["Deployment"] is None


def test_a_recording_is_not_written_over(workflow):
    folder, _ = workflow
    done = subprocess.run(
        [sys.executable, "-m", "podpower", "simulate", "--out", "data/recording", "--hours", "1"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "holds a recording already" in done.stderr
