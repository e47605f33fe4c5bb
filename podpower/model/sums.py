"""Figures of predictions that a total needs, in columns: a part of a long batch can be forgotten when it was added."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from podpower.kubernetes.kinds import JOB_KINDS
from podpower.model.totals import Summand, Summands, knot_watts

if TYPE_CHECKING:
    from podpower.model.predictor import Prediction


class Sums:
    """Figures of predictions in their order."""

    def __init__(self) -> None:
        self.replicas: list[int] = []
        self.power_w: list[float | None] = []
        self.energy_j: list[float | None] = []
        self.kwh_month: list[float | None] = []
        self.is_job: list[bool] = []
        self.summands = Summands()  # where the power is known

    def __len__(self) -> int:
        return len(self.replicas)

    def add(self, predictions: Sequence["Prediction"]) -> None:
        """Append predictions of one model."""
        levels = [interval.level for interval in predictions[0].intervals] if predictions else []
        rising = levels == sorted(levels)
        for prediction in predictions:
            self.replicas.append(prediction.replicas)
            self.power_w.append(prediction.total_avg_power_w)
            self.energy_j.append(prediction.total_energy_j)
            self.kwh_month.append(prediction.kwh_month)
            self.is_job.append(prediction.workload_kind in JOB_KINDS)
            if prediction.total_avg_power_w is None:
                continue
            if rising:
                watts = knot_watts(prediction.pred_avg_power_w, [one.avg_power_w for one in prediction.intervals])
                expected_w, pods = prediction.expected_avg_power_w, _pods(prediction)
                self.summands.append(levels, watts, expected_w, pods, prediction.image_key)
            else:
                self.summands.add(summand_of(prediction))

    def without(self, places: Collection[int]) -> "Sums":
        """Return the figures without those at `places`."""
        if not places:
            return self
        kept = [place for place in range(len(self)) if place not in places]
        found = Sums()
        found.replicas = [self.replicas[place] for place in kept]
        found.power_w = [self.power_w[place] for place in kept]
        found.energy_j = [self.energy_j[place] for place in kept]
        found.kwh_month = [self.kwh_month[place] for place in kept]
        found.is_job = [self.is_job[place] for place in kept]
        found.summands = self.summands.where(
            place not in places for place, watts in enumerate(self.power_w) if watts is not None
        )
        return found


def summand_of(prediction: "Prediction") -> Summand:
    """Return a prediction with known watts as a part of a sum."""
    return Summand(
        power_w=prediction.pred_avg_power_w,
        expected_w=prediction.expected_avg_power_w,
        intervals=[(interval.level, interval.avg_power_w) for interval in prediction.intervals],
        pods=_pods(prediction),
        image_key=prediction.image_key,
    )


def _pods(prediction: "Prediction") -> float:
    return mean_pods(prediction.total_avg_power_w or 0.0, prediction.expected_avg_power_w, prediction.replicas)


def mean_pods(total_w: float, expected_w: float, replicas: int) -> float:
    """Return the pods that run on average over time, which a schedule makes a fraction."""
    return total_w / expected_w if expected_w > 0 else float(replicas)
