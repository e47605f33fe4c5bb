"""Expected watts of predictions whose median is known.

Errors are close to log-normal: the median of one pod is below its mean, and a sum of medians is below the sum. Here the
factor from one to the other is the ratio of two sums of watts over entries left out in training (a ratio estimator;
Cochran, "Sampling Techniques", 3rd ed., 1977, chapter 6), shrunk to 1. Duan's smearing estimate and the log-normal
factor exp(s^2 / 2) take every residual for equally likely at every size; they overshoot sums of simulated clusters by a
third.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PSEUDO_ENTRIES = 4.0  # of ordinary size, predicted exactly: what a few residuals must outweigh
_MOST = 5.0  # of what was measured so far; more is a single giant


@dataclass(frozen=True, kw_only=True)
class MeanFactors:
    """Mean over median for software that was measured elsewhere (`familiar`) and for all other (`new`)."""

    familiar: float = 1.0
    new: float = 1.0

    def of(self, familiar: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the factor of each estimate."""
        factors: NDArray[np.float64] = np.where(familiar, self.familiar, self.new)
        return factors

    def state(self) -> dict[str, float]:
        """Return plain numbers for the artifact."""
        return {"familiar": self.familiar, "new": self.new}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "MeanFactors":
        """Return the factors that gave `state`. ValueError when they are none."""
        factors = {name: float(state[name]) for name in ("familiar", "new")}
        if not all(0 < factor <= _MOST for factor in factors.values()):
            raise ValueError("factors of means must be positive")
        return cls(**factors)


def fit_mean_factors(
    predicted_w: NDArray[np.float64],
    measured_w: NDArray[np.float64],
    share: NDArray[np.float64],
    familiar: NDArray[np.bool_],
) -> MeanFactors:
    """Return the factors over entries left out, each weighed by its share."""

    def ratio(at: NDArray[np.bool_]) -> float:
        if not at.any():
            return 1.0
        weights = share[at]
        extra = _PSEUDO_ENTRIES * float(np.average(measured_w[at], weights=weights))
        below = float(weights @ predicted_w[at]) + extra
        return min(_MOST, (float(weights @ measured_w[at]) + extra) / below) if below > 0 else 1.0

    return MeanFactors(familiar=ratio(familiar), new=ratio(~familiar))
