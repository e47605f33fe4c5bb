"""Predictions with usage, scope, price and carbon."""

import msgspec
import pytest

from podpower.errors import InvalidInput
from podpower.impact.assessment import Inputs, assess
from podpower.impact.carbon import Carbon
from podpower.impact.rates import Rates
from podpower.impact.scope import Idle
from podpower.impact.usage import usage_from
from podpower.model.predictor import Predictor
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.selection import Workloads


def deployment(name, *, replicas=2, cpu=500.0, namespace="shop"):
    containers = [Container(name="c", image="acme/app0:1", req_cpu_mcpu=cpu)]
    return InferenceRequest(
        namespace=namespace, workload_kind="Deployment", workload_name=name, replicas=replicas, containers=containers
    )


@pytest.fixture(scope="module")
def predictor(pair):
    return Predictor(*pair, version="v")


@pytest.fixture
def assessed(predictor):
    def run(*requests, **inputs):
        return assess(predictor, Workloads(requests=list(requests)), Inputs(**inputs))

    return run


def test_cost_and_carbon_are_kwh_times_pue_times_rate(assessed):
    rates = Rates(price_per_kwh=0.3, pue=1.5, carbon=Carbon(g_per_kwh=400.0, source="given"))
    found = assessed(deployment("a"), deployment("b"), rates=rates)
    for prediction in found.predictions:
        assert prediction.cost_month == pytest.approx(prediction.kwh_month * 1.5 * 0.3)
        assert prediction.co2e_kg_month == pytest.approx(prediction.kwh_month * 1.5 * 0.4)
    assert found.total.cost_month == pytest.approx(found.total.kwh_month * 0.45)
    assert found.total.co2e_kg_month == pytest.approx(found.total.kwh_month * 0.6)
    assert found.total.currency == "EUR"


def test_without_rates_an_answer_has_neither_cost_nor_carbon(assessed):
    answer = assessed(deployment("a")).answer(Inputs())
    assert not {"cost_month", "currency", "co2e_kg_month"} & (set(answer["total"]) | set(answer["predictions"][0]))
    assert answer["inputs"]["scope"] == "dynamic"
    assert answer["inputs"]["hours_month"] == 730.0


def test_the_total_scope_adds_idle_power_by_requested_cpu_to_every_figure(assessed):
    dynamic = assessed(deployment("a")).predictions[0]
    total = assessed(deployment("a"), scope="total", idle=Idle(w_per_vcpu=2.0, source="given")).predictions[0]
    assert total.idle_avg_power_w == pytest.approx(2 * 0.5 * 2.0)  # pods x vCPU x watts
    assert total.pred_avg_power_w == pytest.approx(dynamic.pred_avg_power_w + 1.0)
    assert total.pred_energy_step_j == pytest.approx(total.pred_avg_power_w * total.step_seconds)
    assert total.total_avg_power_w == pytest.approx(dynamic.total_avg_power_w + 2.0)
    assert total.kwh_month == pytest.approx(total.total_avg_power_w * 0.73)
    for before, after in zip(dynamic.intervals, total.intervals, strict=True):
        assert after.avg_power_w == pytest.approx([end + 1.0 for end in before.avg_power_w])
    assert total.total_interval.avg_power_w == pytest.approx([end + 2.0 for end in dynamic.total_interval.avg_power_w])


def test_a_pod_that_requests_no_cpu_has_no_idle_share_and_a_note(assessed):
    request = msgspec.structs.replace(deployment("a"), containers=[Container(name="c", image="acme/app0:1")])
    found = assessed(request, scope="total", idle=Idle(w_per_vcpu=2.0, source="given")).predictions[0]
    assert found.idle_avg_power_w == 0.0
    assert any("requests no CPU" in note for note in found.notes)


def test_the_total_scope_needs_idle_watts():
    with pytest.raises(InvalidInput, match="--idle-w-per-vcpu"):
        Inputs(scope="total")


def test_usage_sets_replicas_scales_load_and_counts_hours(assessed):
    plain = assessed(deployment("a", replicas=1)).predictions[0]
    usage = usage_from({"shop/a": {"replicas": 4, "load": 1.5, "hours_month": 365}}, source="usage.yaml")
    used = assessed(deployment("a", replicas=1), usage=usage).predictions[0]
    assert used.replicas == 4
    assert used.replicas_source == "the usage file"
    assert used.pred_avg_power_w == pytest.approx(1.5 * plain.pred_avg_power_w)
    assert used.kwh_month == pytest.approx(plain.kwh_month * 4 * 1.5 / 2)
    assert used.total_avg_power_w == pytest.approx(used.kwh_month / 0.73)
    low, high = used.total_interval.avg_power_w
    assert low <= used.total_avg_power_w <= high


def test_an_exact_name_counts_before_a_pattern_and_what_matches_nothing_is_known():
    content = {"shop/*": {"load": 2}, "shop/a": {"load": 3}, "*": {"load": 4}, "typo/a": {"load": 5}}
    usage = usage_from({"workloads": content}, source="usage.yaml")
    requests = [deployment("a"), deployment("b"), deployment("c", namespace="other")]
    assert [usage.of(request).load for request in requests] == [3, 2, 4]
    assert usage.unused(requests) == ["typo/a"]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({"shop/a": {"hours": 5}}, "shop/a has no hours; did you mean hours_month"),
        ({"shop/a": {"hours_month": 900}}, "shop/a: .*hours_month"),
        ({"shop/a": 5}, "shop/a must be a workload"),
        ([1], "must name at most"),
        ({"shop/a": {"replicas": -1}}, "replicas"),
    ],
)
def test_a_mistake_in_a_usage_file_is_named(content, wrong):
    with pytest.raises(InvalidInput, match=wrong):
        usage_from(content, source="usage.yaml")
