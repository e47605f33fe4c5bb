import numpy as np
import pytest

from podpower.features.physical import TYPICAL_W, physical_power_w
from podpower.model.prior import OFFSET_SPREAD, TYPICAL_LOG, Prior, fit_prior, left_out_priors
from podpower.model.scale import to_log
from podpower.specs.requests import Container, InferenceRequest


def of(**fields):
    gpus = fields.pop("gpu_count", 0)
    return InferenceRequest(
        workload_kind="Deployment",
        workload_name="w",
        gpu_count=gpus,
        containers=[Container(image="x", **fields)],
    )


def test_more_resources_are_expected_to_draw_more():
    small, large, gpu, unknown = physical_power_w(
        [of(req_cpu_mcpu=100.0), of(req_cpu_mcpu=8000.0), of(req_cpu_mcpu=8000.0, gpu_count=1), of()]
    )
    assert small < large < gpu
    assert gpu - large == pytest.approx(100.0)
    assert unknown == pytest.approx(TYPICAL_W)


def test_a_limit_stands_for_a_missing_request():
    assert physical_power_w([of(lim_cpu_mcpu=2000.0)]) == pytest.approx(physical_power_w([of(req_cpu_mcpu=2000.0)]))


def test_without_labels_it_is_the_physical_estimate():
    nothing = np.zeros(0)
    assert fit_prior(nothing, nothing, nothing) == Prior()
    physical = to_log(np.array([TYPICAL_W, 80.0]))
    at = Prior().at(physical)
    assert at == pytest.approx(physical)


def test_labels_replace_the_estimate_one_by_one():
    """A cluster that draws ten times what the estimate says: each label moves the prior, none of them alone."""
    physical = to_log(np.full(200, 1.0))
    measured = physical + np.log(10.0)
    expected = [
        float(fit_prior(physical[:n], measured[:n], np.ones(n)).at(physical[:1])[0]) for n in (0, 1, 3, 10, 200)
    ]
    assert np.all(np.diff(expected) > 0)
    assert expected[1] < measured[0] - 0.25 * OFFSET_SPREAD
    assert expected[-1] == pytest.approx(measured[0], abs=0.05)


def test_the_slope_is_learned():
    rng = np.random.default_rng(0)
    physical = to_log(np.exp(rng.normal(size=400) * 2))
    steep, flat = (fit_prior(physical, physical * slope, np.ones(400)).slope for slope in (2.0, 0.0))
    assert steep > 1.8
    assert flat < 0.2


def test_an_entry_does_not_know_its_own_group():
    physical = to_log(np.ones(6))
    logs = np.array([0.0, 0.0, 0.0, 0.0, 9.0, 9.0])
    groups = np.array([0, 1, 2, 3, 4, 4])
    priors = left_out_priors(physical, logs, np.ones(6), groups)
    assert priors[4] == priors[5]
    assert priors[4] < 1.0 < priors[0]
    alone = left_out_priors(physical[:2], logs[:2], np.ones(2), np.array([0, 0]))
    assert alone == pytest.approx(Prior().at(physical[:2]))


def test_accelerators_do_not_follow_the_slope_of_everything_else():
    """Web servers that draw far more with every core say nothing of a GPU."""
    rng = np.random.default_rng(1)
    physical = to_log(np.exp(rng.normal(size=200) * 0.8) * TYPICAL_W)
    prior = fit_prior(physical, TYPICAL_LOG + 2.0 * (physical - TYPICAL_LOG), np.ones(200))
    gpu = to_log(np.array([101.0]))
    assert prior.slope > 1.7
    assert prior.at(gpu) == pytest.approx(gpu)
    measured = fit_prior(gpu, gpu + 1.0, np.ones(1))
    assert gpu[0] < measured.at(gpu)[0] < gpu[0] + 1.0
