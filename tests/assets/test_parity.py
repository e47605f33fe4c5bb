"""One recording through the assets and through the command line: the same tables, model and figures. One manifest
through the assets and through HTTP: the same hash, the same vector, the same watts.
"""

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from litestar.testing import TestClient
from polars.testing import assert_frame_equal

from podpower.cli import main
from podpower.evaluation.figures import LISTED, kept_figure
from podpower.hours import HOUR_S
from podpower.model.predictor import Predictor
from podpower.registry import artifacts
from podpower.sources.recording import Recording
from podpower.specs.ndjson import encode_request, request_from_dict
from podpower.specs.table import requests_of
from podpower_assets.partitions import hour_start_s
from podpower_serving.app import create_app
from podpower_serving.settings import Settings
from tests.assets.conftest import HOURS, Place


@pytest.mark.parametrize(
    ("kind", "name"), [("Deployment", "frontend"), ("StatefulSet", "postgres"), ("DaemonSet", "cilium")]
)
def test_a_manifest_reads_alike_on_both_ways(made: Place, kind: str, name: str) -> None:
    recording = Recording(made.source.recording)
    events = recording.events(start_s=recording.start_s, end_s=recording.start_s + 3600)
    manifest = next(e.object for e in events if e.object["kind"] == kind and e.object["metadata"]["name"] == name)
    features = made.tables.read("features", HOURS[0])
    assert features is not None
    version = made.models.open().served()
    assert version is not None
    encoder, model = made.models.open().load(version)

    settings = Settings(model_store=made.models.root)
    with TestClient(create_app(settings)) as client:
        yaml = {"Content-Type": "application/yaml"}  # JSON is YAML
        (request,) = client.post("/infer/from-yaml", content=json.dumps(manifest), headers=yaml).json()
        over_http = client.post("/predict/from-yaml", content=json.dumps(manifest), headers=yaml).json()
        as_json = client.post("/predict", json=request).json()

    row = features.filter(workload_kind=kind, workload_name=name, _spec_hash=over_http["spec_hash"])
    assert len(row) == 1

    np.testing.assert_array_equal(
        np.array(row["features"][0], dtype=np.float32), encoder.transform([request_from_dict(request)])[0]
    )
    assert as_json == over_http
    own = Predictor(encoder, model, version=version).predict([request_from_dict(request)])[0]
    assert own.pred_avg_power_w == over_http["pred_avg_power_w"]
    assert (own.basis, over_http["basis"]) == ("seen", "seen")
    assert over_http["model_version"] == version


def test_the_command_line_and_dagster_evaluate_one_table_to_the_same_figures(
    made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [made.tables.read("training_rows", hour) for hour in HOURS]
    pl.concat([part for part in parts if part is not None]).write_parquet(tmp_path / "train_rows.parquet")
    store = made.models.open()
    info = store.info(str(store.served()))

    arguments = ["train", "--train", str(tmp_path / "train_rows.parquet"), "--out", str(tmp_path / "model.joblib")]
    assert main([*arguments, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "--train", str(tmp_path / "train_rows.parquet"), "--json"]) == 0
    splits = {split["name"]: split for split in json.loads(capsys.readouterr().out)["splits"]}
    for name, figures in info.metrics["evaluation"].items():
        assert {key: splits[name]["scores"]["podpower"][key] for key in figures} == pytest.approx(figures)
    assert trained["metrics"]["evaluation"]["unseen workloads"] == pytest.approx(
        info.metrics["evaluation"]["unseen workloads"]
    )

    assert main([*arguments]) == 0
    table = capsys.readouterr().out.split("unseen workloads (")[1].splitlines()
    names, values = (re.split(r" {2,}", table[row].strip()) for row in (1, 3))
    on_command_line = dict(zip(names, values, strict=True))
    listed = {figure.name: kept_figure(info.metrics, "unseen workloads", figure) for figure in LISTED}
    assert {name: on_command_line[name] for name in listed} == listed


def table(made: Place, asset: str, hour: str) -> pl.DataFrame:
    found = made.tables.read(asset, hour)
    assert found is not None
    assert len(found) > 0
    return found


@pytest.fixture(scope="module")
def written(made: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels and rows of each hour, and a model of all rows, as the command line makes them of the same recording."""
    folder = tmp_path_factory.mktemp("written")
    whole = ["label", "--recording", made.source.recording, "--mode", "job", "--out", str(folder / "runs.parquet")]
    assert main(whole) == 0
    for number, hour in enumerate(HOURS):
        start_s = hour_start_s(hour)
        between = ["--start", str(start_s), "--end", str(start_s + HOUR_S)]
        labels = {kind: folder / f"{kind}{number}.parquet" for kind in ("steps", "runs")}
        assert main(["label", "--recording", made.source.recording, *between, "--out", str(labels["steps"])]) == 0
        ended = pl.read_parquet(folder / "runs.parquet").filter(
            pl.col("end_s").is_between(start_s, start_s + HOUR_S, "left")
        )
        ended.write_parquet(labels["runs"])
        features, given = str(made.tables.path("features", hour)), [str(path) for path in labels.values()]
        out = str(folder / f"rows{number}.parquet")
        assert main(["join", "--features", features, "--labels", *given, "--out", out]) == 0
    hours = [pl.read_parquet(folder / f"rows{number}.parquet") for number in range(len(HOURS))]
    pl.concat(hours).write_parquet(folder / "train_rows.parquet")
    train = ["train", "--train", str(folder / "train_rows.parquet")]
    assert main([*train, "--out", str(folder / "knn_energy.joblib")]) == 0
    return folder


def assert_same_rows(left: pl.DataFrame, right: pl.DataFrame) -> None:
    key = ["namespace", "pod", "ts"]
    one, other = (table.sort(key) for table in (left, right))
    assert_frame_equal(one, other, check_column_order=False)


def test_the_command_line_gives_the_labels_and_rows_of_the_assets(made: Place, written: Path) -> None:
    for number, hour in enumerate(HOURS):
        assert_same_rows(pl.read_parquet(written / f"steps{number}.parquet"), table(made, "kepler_labels", hour))
        assert_same_rows(pl.read_parquet(written / f"rows{number}.parquet"), table(made, "training_rows", hour))


def test_the_command_line_gives_the_job_labels_of_the_assets(made: Place, written: Path) -> None:
    by_life = ["namespace", "pod", "start_s"]
    of_assets = pl.concat([table(made, "job_labels", hour) for hour in HOURS]).sort(by_life)
    labels = pl.read_parquet(written / "runs.parquet")
    ended = labels.filter(pl.col("outcome").is_not_null()).sort(by_life)
    assert len(of_assets) > 2
    assert len(labels) > len(ended)  # those that still ran at the end
    assert_frame_equal(ended, of_assets)


def test_labels_of_a_whole_recording_are_those_of_its_hours(made: Place, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    ends = ["--start", str(hour_start_s(HOURS[0])), "--end", str(hour_start_s(HOURS[-1]) + HOUR_S)]
    assert main(["label", "--recording", made.source.recording, *ends, "--out", str(out)]) == 0
    columns = ["namespace", "pod", "ts", "workload_kind", "workload_name", "energy_step_j", "avg_power_w", "reason"]
    columns.append("node_ratio")
    hours = pl.concat([table(made, "kepler_labels", hour).select(columns) for hour in HOURS])
    assert_frame_equal(pl.read_parquet(out).select(columns).sort(columns[:3]), hours.sort(columns[:3]))


def test_the_command_line_gives_the_vectors_of_the_assets(made: Place, tmp_path: Path) -> None:
    version = made.models.open().served()
    assert version is not None
    encoder, _ = made.models.open().load(version)
    (tmp_path / "encoder.joblib").write_bytes(artifacts.encoder_bytes(encoder))
    requests = requests_of(table(made, "workload_specs", HOURS[0]))
    (tmp_path / "in.ndjson").write_bytes(b"".join(encode_request(request) + b"\n" for request in requests))
    files = ["--encoder", str(tmp_path / "encoder.joblib"), "--input", str(tmp_path / "in.ndjson")]
    assert main(["encode", "transform", *files, "--out", str(tmp_path / "features.parquet")]) == 0
    written, asset = pl.read_parquet(tmp_path / "features.parquet"), table(made, "features", HOURS[0])
    same = [name for name in written.columns if name != "observed_from_s"]
    assert_frame_equal(written.select(same), asset.select(same))


def test_the_command_line_gives_the_model_of_the_assets(made: Place, written: Path) -> None:
    version = made.models.open().served()
    assert version is not None
    encoder, of_assets = made.models.open().load(version)
    of_command_line = artifacts.model_from_bytes((written / "knn_energy.joblib").read_bytes())
    assert of_command_line.training_size == of_assets.training_size
    assert of_command_line.notes == of_assets.notes
    assert of_command_line.label_source == of_assets.label_source
    assert of_command_line.encoder_fingerprint == of_assets.encoder_fingerprint == encoder.fingerprint
    seen = requests_of(table(made, "workload_specs", HOURS[0]))
    unseen = [msgspec.structs.replace(r, workload_name=f"{r.workload_name}-b", node_type="other") for r in seen]
    for requests in (seen, unseen):
        one, other = (
            Predictor(encoder, model, version="one").predict(requests) for model in (of_assets, of_command_line)
        )
        assert one == other
