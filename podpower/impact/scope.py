"""Scope of the energy: dynamic (what a workload itself causes) or total (with its share of its node's idle energy).

A node draws idle power whether anything runs on it or not. `total` allocates it by requested CPU: a pod has
`requested vCPUs x idle watts of a vCPU`. What no pod requests stays with the cluster and is in no workload's share.
The idle watts of a vCPU are measured (idle counters of nodes over their CPUs, `podpower.labels.now`), else given.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from podpower.errors import InvalidInput
from podpower.features.columns import requested_cpu_mcpu
from podpower.model.predictor import Interval, Prediction
from podpower.model.totals import PowerInterval
from podpower.specs.requests import InferenceRequest
from podpower.specs.schedules import HOURS_PER_MONTH

Scope = Literal["dynamic", "total"]
SCOPES: Final = ("dynamic", "total")
MOST_IDLE_W: Final = 1000.0
IN_WORDS: Final[dict[str, str]] = {
    "dynamic": "dynamic energy: what the workloads themselves cause, without their nodes' idle energy",
    "total": "total energy: dynamic, and a share of their nodes' idle energy by requested CPU",
}
_NO_REQUEST: Final = "it requests no CPU, so no idle energy is allocated to it"
NO_IDLE: Final = (
    "--scope total needs the idle watts of a vCPU: none was measured, so give --idle-w-per-vcpu W (0.74 is the mean of "
    "AWS's machines in Cloud Carbon Footprint)"
)


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Idle watts of a vCPU and where they come from. InvalidInput when out of range."""

    w_per_vcpu: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.w_per_vcpu <= MOST_IDLE_W:
            raise InvalidInput(f"idle watts of a vCPU: must be from 0 to {MOST_IDLE_W:g}")

    def line(self) -> str:
        """Describe the input."""
        return f"idle: {self.w_per_vcpu:.3g} W for each requested vCPU ({self.source})"


def with_idle_share(prediction: Prediction, request: InferenceRequest, idle: Idle) -> Prediction:
    """Return the prediction with the idle share of its pods in every figure of power and energy.

    A Job's idle share lasts as long as its run, whose length is its energy over its mean power. The share is not
    uncertain: both ends of an interval rise by it.
    """
    cpu_mcpu = requested_cpu_mcpu(request)
    if cpu_mcpu is None:
        return msgspec.structs.replace(prediction, idle_avg_power_w=0.0, notes=[*prediction.notes, _NO_REQUEST])
    idle_w = idle.w_per_vcpu * cpu_mcpu / 1000.0
    expected_w = prediction.expected_avg_power_w
    # Of what a pod uses, all that lasts as long as it does grows by the same factor.
    grown = 1.0 + idle_w / expected_w if expected_w > 0 else 1.0

    def raised(interval: Interval) -> Interval:
        low_w, high_w = (end + idle_w for end in interval.avg_power_w)
        step_s = prediction.step_seconds
        return Interval(
            level=interval.level, avg_power_w=(low_w, high_w), energy_step_j=(low_w * step_s, high_w * step_s)
        )

    total_w, of_all = prediction.total_avg_power_w, prediction.total_interval
    # A load of 0 leaves the idle share alone.
    pods = 0.0 if total_w is None else total_w / expected_w if expected_w > 0 else float(prediction.replicas)
    added_w = pods * idle_w
    kwh_month = _times(prediction.kwh_month, grown) if expected_w > 0 else kwh_of(added_w)
    return msgspec.structs.replace(
        prediction,
        pred_avg_power_w=prediction.pred_avg_power_w + idle_w,
        pred_energy_step_j=prediction.pred_energy_step_j + idle_w * prediction.step_seconds,
        pred_total_energy_j=_times(prediction.pred_total_energy_j, grown),
        expected_avg_power_w=expected_w + idle_w,
        total_avg_power_w=None if total_w is None else total_w + added_w,
        total_interval=None if of_all is None else PowerInterval(
            level=of_all.level, avg_power_w=(of_all.avg_power_w[0] + added_w, of_all.avg_power_w[1] + added_w)
        ),
        total_energy_j=_times(prediction.total_energy_j, grown),
        kwh_month=kwh_month,
        interval=raised(prediction.interval),
        intervals=[raised(interval) for interval in prediction.intervals],
        idle_avg_power_w=added_w,
    )  # fmt: skip


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def kwh_of(watts: float | None) -> float | None:
    """Return the energy of a month of this mean power.

    >>> kwh_of(1000.0)
    730.0
    """
    return None if watts is None else watts * HOURS_PER_MONTH / 1000.0
