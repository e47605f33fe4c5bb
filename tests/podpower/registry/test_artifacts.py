import joblib
import numpy as np
import pytest

from podpower.errors import InvalidInput, Refused
from podpower.features.encoder import Encoder
from podpower.registry import artifacts
from podpower.specs.requests import Container, InferenceRequest
from podpower.training.train import train


def test_an_encoder_comes_back_from_its_file(tmp_path):
    requests = [
        InferenceRequest(workload_kind="Pod", workload_name=name, containers=[Container(image=name)])
        for name in ("redis", "nginx", "postgres")
    ]
    encoder = Encoder.fit(requests)
    artifacts.save_encoder(encoder, tmp_path / "encoder.joblib")
    loaded = artifacts.load_encoder(tmp_path / "encoder.joblib")
    assert loaded.fingerprint == encoder.fingerprint
    assert np.array_equal(loaded.transform(requests), encoder.transform(requests))
    held = joblib.load(tmp_path / "encoder.joblib")
    assert {"schema", "target", "step_seconds", "units", "training_fingerprint", "metrics", "libraries"} <= set(held)


def test_a_model_comes_back_from_its_file(tmp_path, make_rows, queries, known_vectors):
    model = train(make_rows())
    artifacts.save_model(model, tmp_path / "knn_energy.joblib")
    loaded = artifacts.load_model(tmp_path / "knn_energy.joblib")
    asked = queries(known_vectors(model) + 0.01)
    assert np.array_equal(loaded.predict(asked).power_w, model.predict(asked).power_w)
    held = joblib.load(tmp_path / "knn_energy.joblib")
    assert (held["target"], held["step_seconds"]) == ("energy_step_j", 60.0)
    assert held["units"]["energy"] == "J"
    assert {"podpower", "numpy", "joblib"} <= set(held["libraries"])
    assert held["training_fingerprint"] == artifacts.training_fingerprint(loaded)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"encoder\.joblib"):
        artifacts.load_encoder(tmp_path / "encoder.joblib")


def test_a_refused_file_is_named(tmp_path):
    path = tmp_path / "knn_energy.joblib"
    path.write_bytes(b"")
    with pytest.raises(Refused, match=r"knn_energy\.joblib"):
        artifacts.load_model(path)
