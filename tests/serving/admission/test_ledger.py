"""Watts of a namespace: the fleet summary, and what was admitted since its hour."""

import msgspec
import pytest

from podpower.fleet.budgets import Budgets
from podpower_serving.admission.budgets import MOST_SHARES, Admitted, Ledger, fleet_of
from tests.serving.admission.fleets import HOUR_S, summary_of

NOW_S = 1_790_000_000.0 // HOUR_S * HOUR_S + 600.0
DAY_S = 24 * HOUR_S


def ledger_of(*, of_file=None, cluster=None, now_s=NOW_S, **shown):
    ledger = Ledger(cluster=cluster, fresh_seconds=DAY_S)
    summary = summary_of(now_s=now_s, **shown)
    ledger.replace(Budgets(of_file or {}), fleet_of(summary, cluster=cluster, written_s=now_s))
    return ledger


def admitted(name, watts, **fields):
    return Admitted(namespace="shop", key=("Deployment", name), watts=watts, **fields)


def watts(ledger, one, now_s=NOW_S):
    return ledger.use(one, budget_w=100.0, now_s=now_s).watts


def test_a_new_workload_adds_to_the_summary_and_to_those_before():
    ledger = ledger_of(watts={"shop": 50.0, "other": 7.0})
    assert watts(ledger, admitted("a", 10.0)) == 60.0
    ledger.admit(admitted("a", 10.0), now_s=NOW_S)
    assert watts(ledger, admitted("b", 5.0)) == 65.0
    assert watts(ledger, admitted("a", 20.0)) == 70.0


def test_an_updated_workload_replaces_its_share_in_the_summary():
    ledger = ledger_of(watts={"shop": 50.0}, workloads={("shop", "Deployment", "a"): 30.0})
    larger = admitted("a", 40.0, old_watts=30.0, created_s=NOW_S - DAY_S)
    assert watts(ledger, larger) == 60.0
    ledger.admit(larger, now_s=NOW_S)
    assert watts(ledger, admitted("b", 1.0)) == 61.0
    assert watts(ledger, admitted("a", 10.0, old_watts=40.0)) == 30.0


def test_an_updated_workload_that_is_not_listed_replaces_the_prediction_of_its_former_spec():
    ledger = ledger_of(watts={"shop": 50.0})
    old = admitted("a", 40.0, old_watts=30.0, created_s=NOW_S - DAY_S)
    assert watts(ledger, old) == 60.0
    ledger.admit(old, now_s=NOW_S)
    assert watts(ledger, admitted("b", 1.0)) == 61.0
    # Made after the hour of the summary, through another replica: it is not in the summary.
    assert watts(ledger, admitted("c", 4.0, old_watts=3.0, created_s=NOW_S - 1)) == 64.0


def test_a_newer_summary_replaces_what_was_admitted_before_its_hour_ended():
    ledger = ledger_of(watts={"shop": 50.0}, budgets={"shop": 100.0})
    ledger.admit(admitted("a", 10.0), now_s=NOW_S)
    ledger.admit(admitted("b", 5.0), now_s=NOW_S + HOUR_S)
    newer = summary_of(
        now_s=NOW_S + HOUR_S, watts={"shop": 58.0}, budgets={"shop": 100.0}, workloads={("shop", "Deployment", "a"): 8}
    )
    ledger.replace(Budgets(), fleet_of(newer, cluster=None, written_s=NOW_S + HOUR_S))
    assert watts(ledger, admitted("c", 1.0)) == 58.0 + 5.0 + 1.0
    assert watts(ledger, admitted("a", 10.0)) == 58.0 - 8.0 + 5.0 + 10.0


@pytest.mark.parametrize(("last_label_s", "left_w"), [(None, 1.0), (-120.0, 3.0)], ids=["no meter", "metered"])
def test_what_is_admitted_in_the_running_hour_counts_until_a_summary_has_it(last_label_s, left_w):
    """It was forgotten within seconds, because the hour of the summary ended later, and a budget held nothing."""
    before = summary_of(now_s=NOW_S, watts={"shop": 50.0}, budgets={"shop": 100.0})
    [cluster] = before.clusters
    label_s = None if last_label_s is None else NOW_S + last_label_s
    cluster = msgspec.structs.replace(cluster, hour_s=cluster.hour_s + HOUR_S, last_label_s=label_s)
    fleet = fleet_of(msgspec.structs.replace(before, clusters=[cluster]), cluster=None, written_s=NOW_S)
    ledger = Ledger(cluster=None, fresh_seconds=DAY_S)
    ledger.replace(Budgets(), fleet)
    ledger.admit(admitted("early", 2.0), now_s=NOW_S - 60.0)
    ledger.admit(admitted("late", 1.0), now_s=NOW_S + 60.0)
    ledger.replace(Budgets(), fleet)
    assert watts(ledger, admitted("next", 0.0), now_s=NOW_S + 61.0) == 50.0 + left_w


def test_shares_of_a_namespace_without_a_budget_any_more_are_forgotten():
    ledger = ledger_of(watts={"shop": 50.0}, budgets={"shop": 100.0})
    ledger.admit(admitted("a", 10.0), now_s=NOW_S)
    ledger.replace(Budgets(), fleet_of(summary_of(now_s=NOW_S, watts={"shop": 50.0}), cluster=None, written_s=NOW_S))
    assert not ledger._shares


def test_memory_is_bounded_and_no_watt_is_lost():
    ledger = ledger_of(watts={"shop": 50.0}, budgets={"shop": 1.0})
    for number in range(3 * MOST_SHARES):
        ledger.admit(admitted(f"w{number}", 1.0), now_s=NOW_S)
    assert sum(map(len, ledger._shares.values())) == MOST_SHARES
    assert watts(ledger, admitted("new", 1.0)) == 50.0 + 3 * MOST_SHARES + 1.0
    later = NOW_S + 2 * HOUR_S
    newer = summary_of(now_s=later, watts={"shop": 70.0})
    ledger.replace(Budgets(), fleet_of(newer, cluster=None, written_s=later))
    assert watts(ledger, admitted("new", 1.0)) == 71.0


@pytest.mark.parametrize(
    ("of_file", "cluster", "expected"),
    [
        ({}, None, 5.0),
        ({"shop": 7.0}, None, 7.0),
        ({"a/shop": 9.0, "shop": 7.0}, "a", 9.0),
        ({"b/shop": 9.0}, "a", 5.0),
    ],
)
def test_budgets_of_the_file_count_before_annotations(of_file, cluster, expected):
    assert ledger_of(of_file=of_file, cluster=cluster, budgets={"shop": 5.0}).budget_w("shop") == expected


def test_a_summary_of_several_clusters_needs_the_name_of_one():
    shown = summary_of(now_s=NOW_S, watts={"shop": 5.0}, clusters=["a", "b"])
    assert fleet_of(shown, cluster=None, written_s=NOW_S).watts == {}
    assert fleet_of(shown, cluster="a", written_s=NOW_S).watts == {"shop": 5.0}
    assert fleet_of(shown, cluster="b", written_s=NOW_S).watts == {}


def test_a_cluster_that_was_removed_does_not_count():
    """The budgets of the one that was left did not hold for 30 days."""
    shown = summary_of(now_s=NOW_S, watts={"shop": 5.0}, clusters=["a", "b"])
    a, b = shown.clusters
    shown = msgspec.structs.replace(shown, clusters=[a, msgspec.structs.replace(b, configured=False)])
    assert fleet_of(shown, cluster=None, written_s=NOW_S).watts == {"shop": 5.0}


def test_an_old_summary_is_not_known():
    ledger = ledger_of(watts={"shop": 50.0})
    one = admitted("a", 60.0)
    assert ledger.use(one, budget_w=100.0, now_s=NOW_S).known
    assert not ledger.use(one, budget_w=100.0, now_s=NOW_S + 2 * DAY_S).known
    assert not Ledger(cluster=None, fresh_seconds=DAY_S).use(one, budget_w=100.0, now_s=NOW_S).known


@pytest.mark.parametrize(
    ("new", "old", "grows"),
    [(1.0, None, True), (1.0, 1.0, False), (1.0, 2.0, False), (2.0, 1.0, True), (0.0, 0.0, False)],
)
def test_only_what_draws_more_than_before_grows(new, old, grows):
    assert admitted("a", new, old_watts=old).grows is grows
