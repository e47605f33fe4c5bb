"""One manifest through the assets and through HTTP: the same hash, the same vector, the same watts."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from litestar.testing import TestClient

from podpower.cli import main
from podpower.evaluation.figures import LISTED, kept_figure
from podpower.model.predictor import Predictor
from podpower.sources.recording import Recording
from podpower.specs.ndjson import request_from_dict
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
    version = made.models.open().latest()
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
    info = store.info(str(store.latest()))

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
