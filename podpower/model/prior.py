"""The prior: the expected power of a workload without neighbours, a physical estimate corrected by measurements.

On the log scale, power = physical + offset + slope x (physical - typical) + what its kind draws more, by a Bayesian
linear regression (Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.3): without labels all of these
are 0, which is the physical estimate itself; with every label the prior follows the cluster more. Pods with
accelerators, which draw a hundred times as much, have an offset of their own: a slope that was learned from web servers
does not cover them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.features.physical import GPU_W, TYPICAL_W
from podpower.model.scale import to_log

TYPICAL_LOG = float(to_log(np.array(TYPICAL_W)))
# How far each may be from 0, before any label. Clusters and sources differ by a factor of five, kinds by three.
OFFSET_SPREAD, SLOPE_SPREAD, KIND_SPREAD = float(np.log(5.0)), 0.3, float(np.log(3.0))
KINDS = (
    "DaemonSet",
    "Job",
    "Pod",
    "StatefulSet",
    "StaticPod",
)  # as `controller_kind` has them; all others draw like a Deployment
UNKNOWN_SPREAD = 1.7  # of log power over workloads of a cluster, until there are labels

_ACCELERATED_LOG = float(np.log(GPU_W / 5))  # of estimates above it most is accelerators, or a seventh of a large one
_TERMS = ("offset", "slope", "accelerated", *KINDS)
_GROUPS_AT_ONCE = 4096  # of which square matrices of the terms are held
_PRECISIONS = np.array([OFFSET_SPREAD, SLOPE_SPREAD, OFFSET_SPREAD, *[KIND_SPREAD] * len(KINDS)]) ** -2.0


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Log power of what is only known by its resources and kind: what each term adds to the physical estimate."""

    terms: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(_TERMS, 0.0))

    def at(self, physical: NDArray[np.float64], kinds: Sequence[str]) -> NDArray[np.float64]:
        """Log power (n,) for log physical estimates (n,) and kinds (n,); NaN, where there is no estimate, is a typical
        pod.
        """
        return np.array([self._at(*each) for each in zip(physical.tolist(), kinds, strict=True)], dtype=np.float64)

    def _at(self, physical: float, kind: str) -> float:
        if isnan(physical):
            physical = TYPICAL_LOG
        if physical > _ACCELERATED_LOG:
            return physical + self.terms["accelerated"]
        of_kind = self.terms[kind] if kind in KINDS else 0.0
        return physical + (self.terms["offset"] + self.terms["slope"] * (physical - TYPICAL_LOG) + of_kind)

    def state(self) -> dict[str, float]:
        """Return plain numbers for the artifact."""
        return dict(self.terms)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Prior":
        """Return the prior that gave `state`. ValueError when it is none."""
        if set(state) != set(_TERMS) or not all(np.isfinite(float(value)) for value in state.values()):
            raise ValueError("the prior has other terms")
        return cls(terms={term: float(state[term]) for term in _TERMS})


def fit_prior(
    physical: NDArray[np.float64], kinds: Sequence[str], logs: NDArray[np.float64], share: NDArray[np.float64]
) -> Prior:
    """Return the prior after n entries: their log physical estimates, kinds, log power and shares, each (n,)."""
    known = _known(physical)
    design = _design(known, kinds)
    weighted = design * share[:, None]
    terms = _posterior(weighted.T @ design, weighted.T @ (logs - known), _variance(logs, share))
    return Prior(terms=dict(zip(_TERMS, terms.tolist(), strict=True)))


def left_out_priors(
    physical: NDArray[np.float64],
    kinds: Sequence[str],
    logs: NDArray[np.float64],
    share: NDArray[np.float64],
    groups: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the log power of each entry by a prior that was fitted without its group."""
    known = _known(physical)
    design, variance = _design(known, kinds), _variance(logs, share)
    weighted, residuals = design * share[:, None], logs - known
    all_products, all_sums = weighted.T @ design, weighted.T @ residuals
    count = int(groups.max(initial=-1)) + 1
    terms, members = np.empty((count, len(_TERMS))), np.argsort(groups, kind="stable")
    begins = np.searchsorted(groups[members], np.arange(count + 1))
    for first in range(0, count, _GROUPS_AT_ONCE):
        last = min(first + _GROUPS_AT_ONCE, count)
        rows = members[begins[first] : begins[last]]
        products, sums = np.zeros((last - first, len(_TERMS), len(_TERMS))), np.zeros((last - first, len(_TERMS)))
        np.add.at(products, groups[rows] - first, weighted[rows, :, None] * design[rows, None, :])
        np.add.at(sums, groups[rows] - first, weighted[rows] * residuals[rows, None])
        terms[first:last] = _posterior(all_products - products, all_sums - sums, variance)
    expected: NDArray[np.float64] = known + np.einsum("ij,ij->i", design, terms[groups])
    return expected


def _known(physical: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(physical), TYPICAL_LOG, physical)


def _design(known: NDArray[np.float64], kinds: Sequence[str]) -> NDArray[np.float64]:
    """Return the regressors (n, terms) of each entry."""
    accelerated = known > _ACCELERATED_LOG
    named = np.array(kinds, dtype=object)
    columns = [np.ones(len(known)), known - TYPICAL_LOG, *((named == kind).astype(float) for kind in KINDS)]
    plain = np.stack([np.where(accelerated, 0.0, column) for column in columns], axis=1)
    return np.insert(plain, _TERMS.index("accelerated"), accelerated, axis=1)


def _variance(logs: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the variance of log power over the entries and two more of UNKNOWN_SPREAD."""
    if share.sum() <= 0:
        return UNKNOWN_SPREAD**2
    squares = share @ (logs - np.average(logs, weights=share)) ** 2
    return float((squares + 2.0 * UNKNOWN_SPREAD**2) / (share.sum() + 2.0))


def _posterior(products: NDArray[np.float64], sums: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """Return means (..., terms) for sums of products (..., terms, terms) and of regressors times residuals (...,
    terms).
    """
    precisions = products / variance + np.diag(_PRECISIONS)
    return np.linalg.solve(precisions, sums[..., None] / variance)[..., 0].astype(np.float64)
