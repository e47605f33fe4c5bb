"""All pods of a workload, and its month."""

import pytest

from podpower.model.workload_energy import pods_at_a_time, pods_in_all, workload_energy
from podpower.specs.requests import Container, InferenceRequest


def request(kind="Deployment", **fields):
    return InferenceRequest(workload_kind=kind, workload_name="w", containers=[Container(image="redis:7")], **fields)


@pytest.mark.parametrize(
    ("kind", "fields", "at_a_time", "in_all"),
    [
        ("Deployment", {}, 1, 1),
        ("Deployment", {"replicas": 0}, 0, 0),
        ("DaemonSet", {}, 1, 1),
        ("DaemonSet", {"replicas": 7}, 7, 7),
        ("Pod", {"replicas": 7}, 1, 1),
        ("Job", {}, 1, 1),
        ("Job", {"parallelism": 4}, 4, 4),
        ("Job", {"completions": 9}, 1, 9),
        ("CronJob", {"parallelism": 4, "completions": 9}, 4, 9),
        ("Job", {"parallelism": 4, "completions": 2}, 2, 2),
    ],
)
def test_pods_are_counted_as_kubernetes_does(kind, fields, at_a_time, in_all):
    assert (pods_at_a_time(request(kind, **fields)), pods_in_all(request(kind, **fields))) == (at_a_time, in_all)


def test_a_month_has_730_hours():
    energy = workload_energy(request(replicas=3), pod_power_w=2.0, run_energy_j=None)
    assert (energy.total_avg_power_w, energy.kwh_month, energy.replicas_source) == (6.0, pytest.approx(4.38), "spec")


def test_a_job_has_one_run_a_month_over_all_completions():
    energy = workload_energy(request("Job", parallelism=2, completions=9), pod_power_w=5.0, run_energy_j=1000.0)
    assert (energy.total_avg_power_w, energy.total_energy_j) == (10.0, 9000.0)
    assert energy.kwh_month == pytest.approx(0.0025)


def test_a_job_of_unknown_energy_has_unknown_kwh_and_a_reason():
    energy = workload_energy(request("Job"), pod_power_w=5.0, run_energy_j=None)
    assert (energy.total_avg_power_w, energy.total_energy_j, energy.kwh_month) == (5.0, None, None)
    assert "unknown" in energy.notes[0]


def test_a_cron_job_draws_its_mean_over_the_period():
    cron = request("CronJob", parallelism=1, completions=4, schedule="*/30 * * * *")
    energy = workload_energy(cron, pod_power_w=5.0, run_energy_j=90.0)
    assert energy.runs_month == pytest.approx(1460)
    assert energy.total_energy_j == 360.0
    assert energy.total_avg_power_w == pytest.approx(360.0 / 1800)
    assert energy.kwh_month == pytest.approx(360.0 * 1460 / 3.6e6)


@pytest.mark.parametrize(("policy", "watts"), [("Allow", 20.0), (None, 20.0), ("Forbid", 5.0), ("Replace", 5.0)])
def test_runs_that_may_not_overlap_draw_no_more_than_one(policy, watts):
    cron = request("CronJob", schedule="* * * * *", concurrency_policy=policy)
    energy = workload_energy(cron, pod_power_w=5.0, run_energy_j=1200.0)  # four minutes a run
    assert energy.total_avg_power_w == pytest.approx(watts)


@pytest.mark.parametrize(
    ("fields", "run_energy_j", "reason"),
    [({}, 90.0, "schedule"), ({"schedule": "@daily"}, None, "energy of a whole run")],
    ids=["no schedule", "no energy"],
)
def test_a_cron_job_of_unknown_energy_is_null_with_a_reason(fields, run_energy_j, reason):
    energy = workload_energy(request("CronJob", **fields), pod_power_w=5.0, run_energy_j=run_energy_j)
    assert (energy.total_avg_power_w, energy.kwh_month) == (None, None)
    assert reason in energy.notes[0]


@pytest.mark.parametrize("state", ["suspended", "finished"])
@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_what_is_suspended_or_finished_draws_nothing_now(kind, state):
    fields = {"schedule": "@daily"} if kind == "CronJob" else {}
    energy = workload_energy(request(kind, state=state, **fields), pod_power_w=5.0, run_energy_j=90.0)
    assert (energy.total_avg_power_w, energy.total_energy_j, energy.kwh_month) == (0.0, 0.0, 0.0)
    assert (energy.replicas, energy.notes) == (0, [f"{state}: it draws nothing now"])


@pytest.mark.parametrize(
    ("fields", "source", "note"),
    [
        ({}, "default", "one pod: the number of nodes is not known"),
        ({"replicas": 7, "replicas_source": "--nodes"}, "--nodes", "7 pods, from --nodes"),
    ],
)
def test_a_daemon_set_names_where_its_number_of_pods_comes_from(fields, source, note):
    energy = workload_energy(request("DaemonSet", **fields), pod_power_w=1.0, run_energy_j=None)
    assert (energy.replicas_source, energy.notes) == (source, [note])


def test_the_range_of_an_autoscaler_stands_beside_the_value():
    scaled = request(replicas=2, replicas_range=(2, 10), replicas_source="HorizontalPodAutoscaler/web")
    energy = workload_energy(scaled, pod_power_w=1.0, run_energy_j=None)
    assert (energy.replicas, energy.replicas_range, energy.total_avg_power_w) == (2, (2, 10), 2.0)
    assert energy.notes == ["HorizontalPodAutoscaler/web scales it from 2 to 10 replicas"]
