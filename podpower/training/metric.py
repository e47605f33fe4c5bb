"""Maximum a posteriori estimates of the metric and of the pseudo-count of each level, from entries left out.

The metric is learned as in Weinberger and Tesauro, "Metric Learning for Kernel Regression", AISTATS 2007: the squared
error of left-out entries is minimised over it by its gradient. Here it has one weight a block of columns, and a
log-normal prior around what was measured to work elsewhere (docs/explanation/evaluation.md), since a cluster of forty
workloads cannot give forty weights. The pseudo-counts follow one after another, by the same likelihood, each with its
own prior.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podpower.model.metric import Metric, kernel
from podpower.model.partial_pooling import Evidence, Level

BANDWIDTH = 0.45  # in the encoder's units, for every block; the weights are 1 / bandwidth^2
SPREAD = 0.5  # of the log of each weight and pseudo-count around its default: a factor of 1.6
DEFAULT_PSEUDO_COUNTS: dict[Level, float] = {
    "neighbours": 0.03, "image": 3.0, "software": 0.05, "alike": 1.0, "elsewhere": 1.0, "owner": 0.3,
}  # fmt: skip
PSEUDO_COUNT_SPREAD = 1.0  # of the log of a pseudo-count that is chosen by itself
_BOUND = 5.0  # e-folds away from the default; farther, the error hardly changes


@dataclass(frozen=True, kw_only=True)
class NearestLeftOut:
    """q entries that are predicted from others, and for each its k nearest entries of other groups.

    `apart` (blocks, q, k) are squared distances by block, `share` and `logs` (q, k) those of the neighbours, all zero
    where there is none; `prior` (q,) is what is expected without neighbours, `own_logs` (q,) what was measured and
    `own_share` (q,) how much the entry counts.
    """

    apart: NDArray[np.float64]
    share: NDArray[np.float64]
    logs: NDArray[np.float64]
    prior: NDArray[np.float64]
    own_logs: NDArray[np.float64]
    own_share: NDArray[np.float64]


def default_metric(blocks: tuple[int, ...], *, without: frozenset[int] = frozenset()) -> Metric:
    """Every block alike; those at the positions `without` do not count at all."""
    weight = BANDWIDTH**-2
    return Metric(blocks=blocks, weights=tuple(0.0 if b in without else weight for b in range(len(blocks))))


def learn_metric(left_out: NearestLeftOut, start: Metric) -> tuple[Metric, float]:
    """Return block weights and the pseudo-count of the prior against neighbours, by maximum a posteriori."""
    used = np.flatnonzero(np.array(start.weights) > 0)
    if not len(left_out.own_logs) or not len(used):
        return start, DEFAULT_PSEUDO_COUNTS["neighbours"]
    apart = left_out.apart[used]
    center = np.log([*(start.weights[b] for b in used), DEFAULT_PSEUDO_COUNTS["neighbours"]])
    count, own_share = float(left_out.own_share.sum()), left_out.own_share

    def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, pseudo_count = np.exp(logs[:-1]), float(np.exp(logs[-1]))
        near = kernel(np.tensordot(weights, apart, axes=1)) * left_out.share
        total = near.sum(axis=1) + pseudo_count
        predicted = ((near * left_out.logs).sum(axis=1) + pseudo_count * left_out.prior) / total
        errors = predicted - left_out.own_logs
        squared = float(own_share @ errors**2) / count + _LEAST_SQUARED
        by_error = own_share * errors / squared
        by_weight = (by_error / total)[:, None] * (left_out.logs - predicted[:, None]) * near
        gradient = np.empty_like(logs)
        for place, weight in enumerate(weights):
            gradient[place] = -0.5 * weight * float((by_weight * apart[place]).sum())
        gradient[-1] = pseudo_count * float((by_error / total) @ (left_out.prior - predicted))
        value = 0.5 * count * np.log(squared) + 0.5 * float(((logs - center) ** 2).sum()) / SPREAD**2
        return value, gradient + (logs - center) / SPREAD**2

    from scipy.optimize import minimize  # noqa: PLC0415  # slow to import; most runs train nothing

    bounds = [(c - _BOUND, c + _BOUND) for c in center]
    best = minimize(loss, center, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    weights = list(start.weights)
    for place, block in enumerate(used):
        weights[block] = float(np.exp(best[place]))
    return Metric(blocks=start.blocks, weights=tuple(weights)), float(np.exp(best[-1]))


_LEAST_SQUARED = 1e-6  # errors of a thousandth are none


def choose_pseudo_count(
    evidence: Evidence,
    *,
    before: NDArray[np.float64],
    measured: NDArray[np.float64],
    share: NDArray[np.float64],
    default: float,
) -> float:
    """Return the pseudo-count of the estimates `before` (q,) against a level's evidence, by maximum a posteriori over
    the entries that have any. The default where none has.
    """
    at = evidence.total > 0
    if not at.any():
        return default
    total, weighted = evidence.total[at], evidence.weighted[at]
    before, measured, share = before[at], measured[at], share[at]
    count = float(share.sum())

    def loss(log_count: float) -> float:
        pseudo_count = float(np.exp(log_count))
        errors = (weighted + pseudo_count * before) / (total + pseudo_count) - measured
        squared = float(share @ errors**2) / count + _LEAST_SQUARED
        return float(0.5 * count * np.log(squared) + 0.5 * (log_count - np.log(default)) ** 2 / PSEUDO_COUNT_SPREAD**2)

    from scipy.optimize import minimize_scalar  # noqa: PLC0415  # slow to import; most runs train nothing

    bounds = (np.log(default) - _BOUND, np.log(default) + _BOUND)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
