"""Effects of clusters: how much more one draws than the others for the same software, on the log scale.

Machines, kernels and Kepler builds differ, so that all pods of one cluster draw more or less by a factor. It is the
mean residual of the cluster's entries under the estimator of all other clusters, shrunk to none (a random effect;
Gelman and Hill, "Data Analysis Using Regression and Multilevel/Hierarchical Models", 2007, chapter 12).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podpower.model.estimator import Estimator, numbered
from podpower.model.intervals import Widening
from podpower.model.partial_pooling import PseudoCounts, remoteness
from podpower.training.leave_out import predicted_without

EFFECT_SPREAD = 0.4  # of the log effects of clusters, before any label
_DEGREES = 2.0  # of freedom of the expected spread of residuals, against that of the cluster's own
_TO_DEVIATION = 1.25  # from the mean absolute value of a normal to its standard deviation


def fit_cluster_effects(
    estimator: Estimator, priors: NDArray[np.float64], pseudo_counts: PseudoCounts, widening: Widening
) -> dict[str, float]:
    """Return the effect of each cluster against the largest, whose own is 0. Empty for one cluster.

    `priors` (n,) are what is expected of each entry by its resources.
    """
    entries = estimator.entries
    clusters = numbered(entries.clusters)
    sizes = np.bincount(clusters, weights=entries.share)
    if len(sizes) < 2:
        return {}
    queries = np.flatnonzero(clusters != sizes.argmax())
    left_out = predicted_without(estimator, queries, clusters, priors, pseudo_counts)
    spread = _TO_DEVIATION * widening.at(remoteness(left_out.prior_share, pseudo_counts["neighbours"]))
    residuals = estimator.logs[queries] - left_out.predicted
    effects = {_name(entries.clusters, clusters, int(sizes.argmax())): 0.0}
    for code in np.unique(clusters[queries]):
        at = clusters[queries] == code
        effect = _effect(residuals[at], entries.share[queries][at], spread[at])
        effects[_name(entries.clusters, clusters, int(code))] = effect
    return effects


def _effect(residuals: NDArray[np.float64], share: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """Return the shrunk mean of residuals of one cluster, whose `spread` is corrected by how far they are apart."""
    precision = share / spread**2
    apart = residuals - np.average(residuals, weights=precision)
    correction = (precision @ apart**2 + _DEGREES) / (max(float(share.sum()) - 1.0, 0.0) + _DEGREES)
    total = precision.sum() / correction
    return float(precision @ residuals / correction / (total + EFFECT_SPREAD**-2))


def _name(names: Sequence[str], codes: NDArray[np.int64], code: int) -> str:
    return names[int(np.flatnonzero(codes == code)[0])]
