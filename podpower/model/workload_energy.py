"""Energy of a workload from that of one pod: pods at a time, mean power, energy of a month.

A month is 730 hours. What is unknown is None, with the reason in `notes`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from podpower.hours import HOUR_S
from podpower.kubernetes.kinds import ENDLESS_KINDS, JOB_KINDS
from podpower.specs.requests import InferenceRequest
from podpower.specs.schedules import HOURS_PER_MONTH, runs_per_month

_J_PER_KWH: Final = 3.6e6
_TRAIN_JOBS: Final = "train it with labels of `podpower label --mode job`"
_UNKNOWN_RUN: Final = "the model knows no energy of a whole run, so mean power and kWh are unknown: " + _TRAIN_JOBS


class WorkloadEnergy(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """All pods of a workload: `total_avg_power_w` is the mean over time, `total_energy_j` the energy of one run of a
    Job or CronJob over all completions, `runs_month` the number of a CronJob's runs in 730 hours.
    """

    replicas: int
    replicas_source: str
    replicas_range: tuple[int, int] | None
    total_avg_power_w: float | None
    total_energy_j: float | None
    kwh_month: float | None
    runs_month: float | None
    notes: Sequence[str] = ()


def workload_energy(request: InferenceRequest, *, pod_power_w: float, run_energy_j: float | None) -> WorkloadEnergy:
    """Scale the power of one pod, and the energy of its whole run where that is known, to the workload.

    A Job's mean power is that while it runs, its month has one run. A CronJob's mean power is that over the period:
    energy of a run times runs.
    """
    replicas = pods_at_a_time(request)
    source = _replicas_source(request)
    running_w = pod_power_w * replicas
    notes = _notes(request, source)
    energy_j = None
    if run_energy_j is not None and request.workload_kind not in ENDLESS_KINDS:
        energy_j = run_energy_j * pods_in_all(request)
    mean_w: float | None = running_w
    kwh: float | None = running_w * HOURS_PER_MONTH / 1000.0
    runs = None
    if request.workload_kind == "CronJob":
        mean_w, runs, reasons = _mean_of_runs(request, energy_j=energy_j, running_w=running_w)
        kwh = None if mean_w is None else mean_w * HOURS_PER_MONTH / 1000.0
        notes += reasons
    elif request.workload_kind == "Job":
        kwh = None if energy_j is None else energy_j / _J_PER_KWH
        if energy_j is None and request.state is None:
            notes.append(f"the model knows no energy of a whole run, so the kWh are unknown: {_TRAIN_JOBS}")
    if request.state is not None:
        mean_w = kwh = 0.0
        energy_j = 0.0 if request.workload_kind in JOB_KINDS else None
        replicas, runs = 0, (0.0 if request.workload_kind == "CronJob" else None)
        notes = [f"{request.state}: it draws nothing now"]
    return WorkloadEnergy(
        replicas=replicas,
        replicas_source=source,
        replicas_range=request.replicas_range,
        total_avg_power_w=mean_w,
        total_energy_j=energy_j,
        kwh_month=kwh,
        runs_month=runs,
        notes=notes,
    )


def _mean_of_runs(
    request: InferenceRequest, *, energy_j: float | None, running_w: float
) -> tuple[float | None, float | None, list[str]]:
    """Return the mean power of a CronJob over time, its runs in a month, and reasons for what is unknown."""
    if request.schedule is None:
        return None, None, ["its schedule is not given, so mean power and kWh are unknown: give spec.schedule"]
    runs = runs_per_month(request.schedule, request.time_zone)
    if energy_j is None:
        return None, runs, [_UNKNOWN_RUN]
    mean_w = energy_j * runs / (HOURS_PER_MONTH * HOUR_S)
    if request.concurrency_policy in {"Forbid", "Replace"} and mean_w > running_w:
        return running_w, runs, ["its runs take longer than the time between them: it always runs"]
    return mean_w, runs, []


def pods_at_a_time(request: InferenceRequest) -> int:
    """Return the number of pods that run together: a Job's parallelism, else replicas; 1 by default, as in Kubernetes.

    A DaemonSet has one on each matching node; without `replicas` their number is unknown.
    """
    if request.workload_kind in JOB_KINDS:
        parallelism = 1 if request.parallelism is None else request.parallelism
        return parallelism if request.completions is None else min(parallelism, request.completions)
    if request.workload_kind == "Pod":
        return 1
    return 1 if request.replicas is None else request.replicas


def pods_in_all(request: InferenceRequest) -> int:
    """Return the number of pods of a whole run: a Job's completions, else those that run together."""
    if request.workload_kind in JOB_KINDS and request.completions is not None:
        return request.completions
    return pods_at_a_time(request)


def _replicas_source(request: InferenceRequest) -> str:
    if request.replicas_source is not None:
        return request.replicas_source
    if request.workload_kind in JOB_KINDS:
        given = request.parallelism is not None or request.completions is not None
    else:
        given = request.replicas is not None and request.workload_kind != "Pod"
    return "spec" if given else "default"


def _notes(request: InferenceRequest, source: str) -> list[str]:
    notes = []
    if request.workload_kind == "DaemonSet":
        pods = pods_at_a_time(request)
        notes.append(
            "one pod: the number of nodes is not known" if source == "default" else f"{pods} pods, from {source}"
        )
    if request.replicas_range is not None:
        low, high = request.replicas_range
        notes.append(f"{source} scales it from {low} to {high} replicas")
    return notes
