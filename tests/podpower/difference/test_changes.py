"""Changes between two inputs, and the comment on a pull request."""

import re

import msgspec
import pytest

from podpower.difference import comment
from podpower.difference.changes import difference
from podpower.impact.assessment import Inputs, assess
from podpower.impact.carbon import Carbon
from podpower.impact.rates import Rates
from podpower.model.predictor import Predictor
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.selection import Workloads


def workload(name, *, kind="Deployment", replicas=2, cpu=500.0, image="acme/app0:1", **fields):
    return InferenceRequest(
        workload_kind=kind,
        workload_name=name,
        replicas=replicas,
        containers=[Container(name="c", image=image, req_cpu_mcpu=cpu)],
        **fields,
    )


@pytest.fixture
def answer(pair):
    predictor = Predictor(*pair, version="v")

    def run(old, new, **inputs):
        given = Inputs(**inputs)
        sides = [assess(predictor, Workloads(requests=list(side)), given) for side in (old, new)]
        return difference(predictor, *sides).answer(given)

    return run


def test_each_change_is_added_removed_or_changed_with_what_is_different(answer):
    old = [workload("a"), workload("b"), workload("same")]
    new = [workload("a", replicas=5, cpu=250.0), workload("c"), workload("same", labels={"version": "2"})]
    found = answer(old, new)
    changes = {change["workload_name"]: change for change in found["changes"]}
    assert {name: change["change"] for name, change in changes.items()} == {
        "a": "changed",
        "b": "removed",
        "c": "added",
    }
    assert changes["a"]["what"] == ["replicas 2 -> 5", "CPU request (m) 500 -> 250"]
    assert found["unchanged"] == 1
    assert changes["b"]["new"] is None
    assert changes["b"]["delta_w"] == -changes["b"]["old"]["total_avg_power_w"]
    total = found["total"]
    assert total["delta"]["kwh_month"] == pytest.approx(total["new"]["kwh_month"] - total["old"]["kwh_month"])
    assert sum(change["delta_kwh_month"] for change in changes.values()) == pytest.approx(total["delta"]["kwh_month"])


def test_a_difference_is_the_same_in_parts_of_any_size(answer, monkeypatch):
    old = [workload(f"w{number}", cpu=100.0 + number) for number in range(20)]
    new = [workload(f"w{number}", cpu=100.0 + 3 * number) for number in range(5, 25)]
    whole = answer(old, new)
    monkeypatch.setattr("podpower.difference.changes._PART", 3)
    assert answer(old, new) == whole
    assert len(whole["changes"]) == 25


def test_objects_that_share_a_generated_name_are_each_in_the_difference(answer):
    """The API server makes a name of `generateName: p-` for each of them: none replaces another."""
    one, two = workload("p", kind="Pod", replicas=1), workload("p", kind="Pod", replicas=1, cpu=900.0)
    found = answer([], [one, two])
    assert [change["change"] for change in found["changes"]] == ["added", "added"]
    delta = found["total"]["delta"]["total_avg_power_w"]
    assert delta == pytest.approx(found["total"]["new"]["total_avg_power_w"])
    assert answer([one, two], [one, two])["unchanged"] == 2
    assert [change["change"] for change in answer([two, one], [one])["changes"]] == ["removed"]


def test_of_a_workload_that_is_given_again_the_last_one_is_compared(pair):
    predictor = Predictor(*pair, version="v")
    twice = Workloads(requests=[workload("a", replicas=9), workload("a")], repeated={0})
    once = Workloads(requests=[workload("a")])
    found = difference(predictor, *(assess(predictor, side, Inputs()) for side in (once, twice)))
    assert (found.changes, found.unchanged) == ([], 1)


def test_the_difference_has_cost_and_carbon(answer):
    rates = Rates(price_per_kwh=0.3, carbon=Carbon(g_per_kwh=400.0, source="given"))
    delta = answer([workload("a")], [workload("a", replicas=4)], rates=rates)["total"]["delta"]
    assert delta["cost_month"] == pytest.approx(delta["kwh_month"] * 0.3)
    assert delta["co2e_kg_month"] == pytest.approx(delta["kwh_month"] * 0.4)


def test_what_is_unknown_is_a_change_that_is_counted_and_not_summed(answer):
    cron = workload("nightly", kind="CronJob", replicas=None, schedule="0 3 * * *")
    found = answer([workload("a")], [workload("a", replicas=3), cron])
    changes = {change["workload_name"]: change for change in found["changes"]}
    assert changes["nightly"]["delta_w"] is None
    assert found["total"]["delta"]["unknown"] == 1
    assert found["total"]["delta"]["total_avg_power_w"] == pytest.approx(changes["a"]["delta_w"])
    text = comment.render(found)
    assert "nightly" in text
    assert "1 change of unknown energy not counted" in text.replace("\\", "")


def test_a_workload_without_requests_is_in_the_comment(answer):
    bare = workload("bare", cpu=None)
    assert "`default/bare`" in comment.render(answer([], [bare]))


def test_nothing_changed_is_no_comment(answer):
    same = [workload("a"), workload("b")]
    found = answer(same, [msgspec.structs.replace(one, annotations={"commit": "1f3"}) for one in same])
    assert found["changes"] == []
    assert found["total"]["delta"]["kwh_month"] == 0.0
    assert comment.render(found) == ""


def test_a_comment_begins_with_the_monthly_change_and_folds_the_rest(answer):
    new = [workload(f"w{place:02}", replicas=place + 1) for place in range(40)]
    text = comment.render(answer([], new), inputs=["scope: dynamic"])
    title, _, sentence, _, header, *_ = text.splitlines()
    assert title.startswith("###")
    assert re.match(r"\*\*This change adds [\d.]+ [kM]?Wh a month", sentence)
    assert header.startswith("| workload | kind | W | kWh/month |")
    shown, _, folded = text.partition("<details><summary>20 more changed workloads</summary>")
    assert shown.count("`default/w") == folded.count("`default/w") == 20
    assert "scope: dynamic" in folded


def test_a_comment_of_any_input_has_at_most_65536_characters(answer):
    new = [workload(f"{'x' * 200}-{place}", image="<b>@all|`" * 20) for place in range(1500)]
    text = comment.render(answer([], new))
    assert 30_000 < len(text) < 65_536
    assert "smaller changes are not shown, and are in the total" in text
    assert "<b>" not in re.sub(r"`[^`]*`", "", text)
