"""What is expected of a workload with no neighbour at all: the physical estimate, corrected by what was measured.

On the log scale, power = typical + offset + slope x (physical - typical), where offset and slope are the posterior
means of a Bayesian linear regression (Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.3): without
labels the physical estimate itself, halfway to a typical pod; with every label more of what the cluster says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podpower.features.physical import TYPICAL_W
from podpower.model.scale import to_log

TYPICAL_LOG = float(to_log(np.array(TYPICAL_W)))
# Before any label. Offset: clusters and sources differ by a factor of ten. Slope: requests overstate large pods.
OFFSET_SPREAD = float(np.log(10.0))
SLOPE, SLOPE_SPREAD = 0.5, 0.15
UNKNOWN_SPREAD = 1.7  # of log power over workloads of a cluster, until the labels tell


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Log power of what is only known by its resources, by `offset` and `slope`."""

    offset: float = 0.0
    slope: float = SLOPE

    def at(self, physical: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log power (n,) for log physical estimates (n,); NaN, where there is none, is a typical pod."""
        known: NDArray[np.float64] = np.where(np.isnan(physical), TYPICAL_LOG, physical)
        return TYPICAL_LOG + self.offset + self.slope * (known - TYPICAL_LOG)


def fit_prior(physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64]) -> Prior:
    """The prior after n entries: their log physical estimates, log power and shares, each (n,)."""
    offsets, slopes = _posterior(_moments(physical, logs, share).sum(axis=0, keepdims=True), _variance(logs, share))
    return Prior(offset=float(offsets[0]), slope=float(slopes[0]))


def left_out_priors(
    physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """For each entry the log power of a prior that was fitted without its group."""
    moments = _moments(physical, logs, share)
    own = np.zeros((int(groups.max(initial=0)) + 1, moments.shape[1]))
    np.add.at(own, groups, moments)
    offsets, slopes = _posterior(moments.sum(axis=0) - own[groups], _variance(logs, share))
    known = np.where(np.isnan(physical), TYPICAL_LOG, physical)
    expected: NDArray[np.float64] = TYPICAL_LOG + offsets + slopes * (known - TYPICAL_LOG)
    return expected


def _moments(
    physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each entry: weight, and the weighted x, y, x squared and x y of the regression."""
    x = np.where(np.isnan(physical), 0.0, physical - TYPICAL_LOG)
    y = logs - TYPICAL_LOG
    return np.stack([share, share * x, share * y, share * x * x, share * x * y], axis=1)


def _variance(logs: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Of log power, as two entries of UNKNOWN_SPREAD and those that are known say."""
    if share.sum() <= 0:
        return UNKNOWN_SPREAD**2
    squares = share @ (logs - np.average(logs, weights=share)) ** 2
    return float((squares + 2.0 * UNKNOWN_SPREAD**2) / (share.sum() + 2.0))


def _posterior(sums: NDArray[np.float64], variance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets and slopes (m,) for sums of `_moments` (m, 5)."""
    weight, x, y, xx, xy = sums.T
    offset_precision, slope_precision = OFFSET_SPREAD**-2, SLOPE_SPREAD**-2
    a, b, c = weight / variance + offset_precision, x / variance, xx / variance + slope_precision
    right_a, right_b = y / variance, xy / variance + slope_precision * SLOPE
    determinant = a * c - b * b
    return (c * right_a - b * right_b) / determinant, (a * right_b - b * right_a) / determinant
