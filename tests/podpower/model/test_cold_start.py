import numpy as np
import pytest

from podpower.features.encoder import Encoder
from podpower.features.physical import physical_power_w
from podpower.model.cold_start import cold_start_model
from podpower.model.predictor import PRIOR_IN_WORDS, Predictor
from podpower.registry.artifacts import model_bytes, model_from_bytes
from podpower.specs.requests import Container, InferenceRequest


@pytest.fixture(scope="module")
def requests():
    def of(name, cpu, gpus=0):
        container = Container(image=name, req_cpu_mcpu=cpu)
        return InferenceRequest(workload_kind="Job", workload_name=name, gpu_count=gpus, containers=[container])

    return [of("small", 100.0), of("large", 16000.0), of("gpu", 8000.0, gpus=2), of("unknown", None)]


@pytest.fixture(scope="module")
def predictor(requests):
    encoder = Encoder.fit(requests)
    return Predictor(encoder, model_from_bytes(model_bytes(cold_start_model(encoder))), version="untrained")


def test_without_any_label_resources_give_an_estimate(predictor, requests):
    small, large, gpu, unknown = predictor.predict(requests)
    assert small.pred_avg_power_w < large.pred_avg_power_w < gpu.pred_avg_power_w
    assert 0.01 < unknown.pred_avg_power_w < 1.0
    assert {p.basis for p in (small, large, gpu, unknown)} == {"prior"}
    assert gpu.evidence == PRIOR_IN_WORDS
    assert gpu.pred_total_energy_j is None


def test_its_intervals_are_wide_and_hold_the_estimate(predictor, requests):
    for prediction, physical in zip(predictor.predict(requests), physical_power_w(requests), strict=True):
        low, high = prediction.interval.avg_power_w
        assert low <= prediction.pred_avg_power_w <= high
        assert low < physical < high
        assert high > 5 * prediction.pred_avg_power_w
        assert [i.level for i in prediction.intervals] == [0.5, 0.8, 0.95]
        assert (np.diff([i.avg_power_w[1] for i in prediction.intervals]) > 0).all()


def test_an_explanation_is_all_prior(predictor, requests):
    [explained] = predictor.explain(requests[:1])
    assert explained.neighbours == []
    assert explained.prior_weight == pytest.approx(1.0)
