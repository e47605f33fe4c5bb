import msgspec
import numpy as np
import pytest

from podpower.features.physical import TYPICAL_W, core_power_w, physical_power_w
from podpower.model.prior import OFFSET_SPREAD, TYPICAL_LOG, Prior, fit_prior, left_out_priors
from podpower.model.scale import to_log
from podpower.specs.requests import Container, InferenceRequest


def of(kind="Deployment", gpu_count=0, node_type=None, **fields):
    return InferenceRequest(
        workload_kind=kind,
        workload_name="w",
        gpu_count=gpu_count,
        node_type=node_type,
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


def test_a_job_computes_with_what_it_requests_and_nothing_beyond_its_limit():
    service, job, capped, silent = physical_power_w(
        [
            of(req_cpu_mcpu=4000.0),
            of("Job", req_cpu_mcpu=4000.0),
            of("CronJob", req_cpu_mcpu=1.0, lim_cpu_mcpu=1.0),
            of("Job"),
        ]
    )
    assert job == pytest.approx(4 * 2.76, rel=0.01)
    assert service < job / 5
    assert capped < 0.01
    assert silent == pytest.approx(TYPICAL_W)


def test_the_limit_of_a_sidecar_does_not_bound_the_others():
    alone = of(req_cpu_mcpu=4000.0)
    sidecar = Container(name="proxy", image="y", lim_cpu_mcpu=1.0)
    beside = msgspec.structs.replace(alone, containers=[*alone.containers, sidecar])
    assert physical_power_w([beside]) >= physical_power_w([alone])


@pytest.mark.parametrize(
    ("node_type", "core_w"),
    [
        ("m5.xlarge", 3.12),
        ("m6g.large", 1.27),
        ("m5a.large", 1.27),
        ("g4dn.xlarge", 3.12),
        ("n1-standard-4", 3.12),
        ("n2d-standard-8", 1.27),
        ("t2a-standard-1", 1.27),
        ("e2-medium", 3.12),
        ("Standard_D4s_v3", 3.12),
        ("Standard_D4ps_v5", 1.27),
        ("Standard_E8-4as_v4", 1.27),
        ("worker", 2.76),
        ("", 2.76),
        (None, 2.76),
        ("a" * 100_000, 2.76),
    ],
)
def test_the_node_type_decides_the_power_of_a_core(node_type, core_w):
    assert core_power_w(node_type) == core_w
    job = of("Job", req_cpu_mcpu=1000.0, node_type=node_type)
    assert physical_power_w([job]) == pytest.approx(core_w, rel=0.01)


def test_without_labels_it_is_the_physical_estimate():
    nothing = np.zeros(0)
    assert fit_prior(nothing, [], nothing, nothing) == Prior()
    physical = to_log(np.array([TYPICAL_W, 80.0]))
    assert Prior().at(physical, ["Deployment", "Job"]) == pytest.approx(physical)


def services(count):
    return ["Deployment"] * count


def test_labels_replace_the_estimate_one_by_one():
    """A cluster that draws ten times what the estimate says: each label moves the prior, none of them alone."""
    physical = to_log(np.full(200, 1.0))
    measured = physical + np.log(10.0)
    expected = [
        float(fit_prior(physical[:n], services(n), measured[:n], np.ones(n)).at(physical[:1], services(1))[0])
        for n in (0, 1, 3, 10, 200)
    ]
    assert np.all(np.diff(expected) > 0)
    assert expected[1] < measured[0] - 0.25 * OFFSET_SPREAD
    assert expected[-1] == pytest.approx(measured[0], abs=0.05)


def test_the_slope_is_learned():
    rng = np.random.default_rng(0)
    physical = to_log(np.exp(rng.normal(size=400) * 0.8))
    ends = to_log(np.array([0.1, 10.0]))
    for slope, low, high in ((2.0, 1.8, 2.1), (0.0, -0.1, 0.2)):
        prior = fit_prior(physical, services(400), physical * slope, np.ones(400))
        assert low < np.diff(prior.at(ends, services(2)))[0] / np.diff(ends)[0] < high


def test_kinds_that_draw_more_are_distinguished_as_far_as_there_are_labels():
    physical = to_log(np.full(60, 1.0))
    kinds = ["DaemonSet" if n % 3 == 0 else "Deployment" for n in range(60)]
    measured = physical + np.where(np.array(kinds) == "DaemonSet", 2.0, 0.0)
    few, many = (fit_prior(physical[:n], kinds[:n], measured[:n], np.ones(n)) for n in (3, 60))
    apart = [float(np.diff(prior.at(physical[:2], ["Deployment", "DaemonSet"]))[0]) for prior in (Prior(), few, many)]
    assert apart[0] == 0.0
    assert 0.1 < apart[1] < apart[2]
    assert apart[2] == pytest.approx(2.0, abs=0.3)
    assert many.at(physical[:1], ["Rollout"]) == many.at(physical[:1], ["Deployment"])


def test_an_entry_does_not_know_its_own_group():
    physical = to_log(np.ones(6))
    logs = np.array([0.0, 0.0, 0.0, 0.0, 9.0, 9.0])
    groups = np.array([0, 1, 2, 3, 4, 4])
    priors = left_out_priors(physical, services(6), logs, np.ones(6), groups)
    assert priors[4] == priors[5]
    assert priors[4] < 1.0 < priors[0]
    alone = left_out_priors(physical[:2], services(2), logs[:2], np.ones(2), np.array([0, 0]))
    assert alone == pytest.approx(Prior().at(physical[:2], services(2)))


def test_accelerators_do_not_follow_the_slope_of_everything_else():
    """Web servers that draw far more with every core say nothing of a GPU."""
    rng = np.random.default_rng(1)
    physical = to_log(np.exp(rng.normal(size=200) * 0.8) * TYPICAL_W)
    prior = fit_prior(physical, services(200), TYPICAL_LOG + 2.0 * (physical - TYPICAL_LOG), np.ones(200))
    gpu = to_log(np.array([101.0]))
    assert prior.at(gpu, services(1)) == pytest.approx(gpu)
    measured = fit_prior(gpu, services(1), gpu + 1.0, np.ones(1))
    assert gpu[0] < measured.at(gpu, services(1))[0] < gpu[0] + 1.0


@pytest.mark.parametrize("spoil", [{"slope": float("nan")}, {"more": 1.0}], ids=["not finite", "another term"])
def test_a_foreign_state_is_refused(spoil):
    with pytest.raises(ValueError, match="other terms"):
        Prior.from_state(Prior().state() | spoil)
