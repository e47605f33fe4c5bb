"""Prediction intervals from what the model got wrong on workloads that it had not seen.

Split-conformal quantiles of signed log residuals, gathered by cross-validation over groups: Barber, Candes, Ramdas and
Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49(1), 2021 (the CV+ construction, without
the re-centring on each fold's prediction).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Basis = Literal["seen", "similar", "prior"]
BASES: tuple[Basis, ...] = ("seen", "similar", "prior")
DEFAULT_LEVEL = 0.8
MIN_RESIDUALS = 20  # fewer than these tell too little of their tails
# With no residual at all (one workload only): a factor of 20 either way, about what separates workloads of a cluster.
_UNKNOWN = math.log(20.0)


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """By basis, the lower and upper log factor that hold `level` of the residuals; lower <= 0 <= upper.

    Those of "seen" are in units of the spread of what was seen: a calm workload has a narrower interval than a bursty
    one (locally weighted conformal prediction: Lei et al., "Distribution-free predictive inference for regression",
    JASA 113(523), 2018, section 5.2).
    """

    level: float
    bounds: dict[str, tuple[float, float]]

    def around(
        self, log_values: NDArray[np.float64], basis: NDArray[np.object_], spread: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The interval around each log prediction, on the log scale; `spread` is 1 for what was not seen."""
        bounds = np.array([self.bounds[b] for b in basis], dtype=np.float64).reshape(len(basis), 2)
        return log_values + bounds[:, 0] * spread, log_values + bounds[:, 1] * spread

    def state(self) -> dict[str, Any]:
        """Plain numbers for the artifact."""
        return {"level": self.level, "bounds": {basis: list(pair) for basis, pair in self.bounds.items()}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Intervals":
        """The intervals that gave `state`."""
        bounds = {basis: (float(low), float(high)) for basis, (low, high) in _complete(state["bounds"])}
        return cls(level=float(state["level"]), bounds=bounds)


def _complete(bounds: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    if set(bounds) != set(BASES):
        raise ValueError(f"interval bounds for {sorted(bounds)} instead of {sorted(BASES)}")
    return bounds.items()


def fit_intervals(residuals: dict[Basis, NDArray[np.float64]], *, level: float = DEFAULT_LEVEL) -> Intervals:
    """Intervals from signed log residuals (measured - predicted) by basis, those of "seen" over their spread.

    "similar" and "prior" with few residuals of their own take the wider of these and of both together; "seen" does so
    only without any, because what is seen errs on another scale.
    """
    unseen = np.concatenate([residuals["similar"], residuals["prior"]])
    bounds: dict[str, tuple[float, float]] = {}
    for basis in BASES:
        own = residuals[basis]
        low, high = _quantiles(own if len(own) else unseen, level)
        if basis != "seen" and len(own) < MIN_RESIDUALS:
            other_low, other_high = _quantiles(unseen, level)
            low, high = min(low, other_low), max(high, other_high)
        bounds[basis] = low, high
    return Intervals(level=level, bounds=bounds)


def _quantiles(residuals: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The ceil((n + 1) q)-th smallest, and its mirror: the finite-sample correction of conformal prediction."""
    count = len(residuals)
    if count == 0:
        return -_UNKNOWN, _UNKNOWN
    ordered = np.sort(residuals)
    rank = min(count, math.ceil((count + 1) * (1 + level) / 2))
    return min(0.0, float(ordered[count - rank])), max(0.0, float(ordered[rank - 1]))
