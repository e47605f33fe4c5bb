"""What is expected of a workload with no neighbour at all: the physical estimate, corrected by what was measured.

On the log scale, power = typical + offset + slope x (physical - typical), where offset and slope are the posterior
means of a Bayesian linear regression (Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.3): without
labels the physical estimate itself; with every label more of what the cluster says. Pods with accelerators, which draw
a hundred times as much, have an offset of their own: a slope that was learned from web servers says nothing of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podpower.features.physical import GPU_W, TYPICAL_W
from podpower.model.scale import to_log

TYPICAL_LOG = float(to_log(np.array(TYPICAL_W)))
# Before any label. Offset: clusters and sources differ by a factor of five. Slope: the estimate is taken as it is.
OFFSET_SPREAD = float(np.log(5.0))
SLOPE, SLOPE_SPREAD = 1.0, 0.3
UNKNOWN_SPREAD = 1.7  # of log power over workloads of a cluster, until the labels tell


_ACCELERATED_LOG = float(np.log(GPU_W / 2))  # of estimates above it most is accelerators


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Log power of what is only known by its resources."""

    offset: float = 0.0
    slope: float = SLOPE
    accelerated_offset: float = 0.0

    def at(self, physical: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log power (n,) for log physical estimates (n,); NaN, where there is none, is a typical pod."""
        return _expected(physical, self.offset, self.slope, self.accelerated_offset)


def fit_prior(physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64]) -> Prior:
    """The prior after n entries: their log physical estimates, log power and shares, each (n,)."""
    sums = _moments(physical, logs, share).sum(axis=0, keepdims=True)
    offset, slope, accelerated_offset = (float(values[0]) for values in _posterior(sums, _variance(logs, share)))
    return Prior(offset=offset, slope=slope, accelerated_offset=accelerated_offset)


def left_out_priors(
    physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """For each entry the log power of a prior that was fitted without its group."""
    moments = _moments(physical, logs, share)
    own = np.zeros((int(groups.max(initial=0)) + 1, moments.shape[1]))
    np.add.at(own, groups, moments)
    return _expected(physical, *_posterior(moments.sum(axis=0) - own[groups], _variance(logs, share)))


def _expected(
    physical: NDArray[np.float64],
    offset: float | NDArray[np.float64],
    slope: float | NDArray[np.float64],
    accelerated_offset: float | NDArray[np.float64],
) -> NDArray[np.float64]:
    known = np.where(np.isnan(physical), TYPICAL_LOG, physical)
    return np.where(
        known > _ACCELERATED_LOG, known + accelerated_offset, TYPICAL_LOG + offset + slope * (known - TYPICAL_LOG)
    )


def _moments(
    physical: NDArray[np.float64], logs: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each entry: weight, and the weighted x, y, x squared and x y of the regression; then, of the accelerated ones
    in place of all these, weight and weighted offset.
    """
    known = np.where(np.isnan(physical), TYPICAL_LOG, physical)
    x, y = known - TYPICAL_LOG, logs - TYPICAL_LOG
    accelerated = np.where(known > _ACCELERATED_LOG, share, 0.0)
    plain = share - accelerated
    return np.stack(
        [plain, plain * x, plain * y, plain * x * x, plain * x * y, accelerated, accelerated * (logs - known)], axis=1
    )


def _variance(logs: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Of log power, as two entries of UNKNOWN_SPREAD and those that are known say."""
    if share.sum() <= 0:
        return UNKNOWN_SPREAD**2
    squares = share @ (logs - np.average(logs, weights=share)) ** 2
    return float((squares + 2.0 * UNKNOWN_SPREAD**2) / (share.sum() + 2.0))


def _posterior(sums: NDArray[np.float64], variance: float) -> tuple[NDArray[np.float64], ...]:
    """Offsets, slopes and offsets of the accelerated (m,) for sums of `_moments` (m, 7)."""
    weight, x, y, xx, xy, accelerated, offsets = sums.T
    offset_precision, slope_precision = OFFSET_SPREAD**-2, SLOPE_SPREAD**-2
    a, b, c = weight / variance + offset_precision, x / variance, xx / variance + slope_precision
    right_a, right_b = y / variance, xy / variance + slope_precision * SLOPE
    determinant = a * c - b * b
    of_accelerated = offsets / variance / (accelerated / variance + offset_precision)
    return (c * right_a - b * right_b) / determinant, (a * right_b - b * right_a) / determinant, of_accelerated
