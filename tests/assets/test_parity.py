"""One manifest through the assets and through HTTP: the same hash, the same vector, the same watts."""

import json

import numpy as np
import pytest
from litestar.testing import TestClient

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
