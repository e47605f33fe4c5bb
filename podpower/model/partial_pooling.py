"""Partial pooling over levels: prior, neighbours, same image, same software, nearly the same name, same spec elsewhere,
same workload.

Each level is a weighted mean of measured entries that is shrunk to the level before it by a pseudo-count: without
evidence the level before stands, with much it is forgotten (Gelman and Hill, "Data Analysis Using Regression and
Multilevel/Hierarchical Models", 2007, chapter 12). All weights are positive and add up to 1 with that of the prior, so
every prediction can name what it rests on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Level = Literal["neighbours", "image", "software", "alike", "elsewhere", "owner"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

PseudoCounts = Mapping[Level, float]
"""Number of entries at distance 0 that the levels before one weigh as, by level."""


def checked_pseudo_counts(state: Mapping[str, Any]) -> dict[Level, float]:
    """Return pseudo-counts of an artifact. ValueError when they are none."""
    counts: dict[Level, float] = {level: float(state[level]) for level in LEVELS}
    if set(state) != set(LEVELS) or not all(count > 0 for count in counts.values()):
        raise ValueError("pseudo-counts must be positive, one a level")
    return counts


class Evidence(NamedTuple):
    """Contribution of one level to m estimates: the `total` weight (m,) of its entries and the sum (m,) of their log
    values by weight; `of_neighbours` (m, k) are the weights of those among the neighbours, `of_entries` those of single
    entries, by row.
    """

    total: NDArray[np.float64]
    weighted: NDArray[np.float64]
    of_neighbours: NDArray[np.float64] | None = None
    of_entries: Mapping[int, Sequence[tuple[int, float]]] = MappingProxyType({})

    @classmethod
    def nothing(cls, count: int) -> "Evidence":
        """Return no evidence for so many estimates."""
        zeros = np.zeros(count)
        return cls(zeros, zeros)

    @property
    def is_nothing(self) -> bool:
        """True where no entry is evidence for any of the estimates."""
        return self.of_neighbours is None and not self.of_entries


@dataclass
class Pooled:
    """Estimates (m,) on the log scale with the prior's share in each, and the weights (m, k) of the k neighbours and
    of further entries by row. What is missing to 1 are entries beyond those.
    """

    logs: NDArray[np.float64]
    prior_share: NDArray[np.float64]
    weights: NDArray[np.float64]
    entries: dict[int, dict[int, float]]

    @classmethod
    def prior(cls, prior_logs: NDArray[np.float64], neighbours: int) -> "Pooled":
        """Return the prior alone."""
        count = len(prior_logs)
        return cls(logs=prior_logs, prior_share=np.ones(count), weights=np.zeros((count, neighbours)), entries={})

    def add(self, evidence: Evidence, pseudo_count: float) -> None:
        """Pool with the next level."""
        if evidence.is_nothing or not math.isfinite(pseudo_count):
            return
        divisor = evidence.total + pseudo_count
        before = pseudo_count / divisor
        self.logs = before * self.logs + evidence.weighted / divisor
        self.prior_share = self.prior_share * before
        self.weights *= before[:, None]
        for row, shares in self.entries.items():
            for entry in shares:
                shares[entry] *= float(before[row])
        if evidence.of_neighbours is not None:
            self.weights += evidence.of_neighbours / divisor[:, None]
        for row, weights in evidence.of_entries.items():
            shares = self.entries.setdefault(row, {})
            for entry, weight in weights:
                shares[entry] = shares.get(entry, 0.0) + weight / float(divisor[row])


def remoteness(prior_share: NDArray[np.float64], pseudo_count: float) -> NDArray[np.float64]:
    """Return the distance (in bandwidths) at which a single neighbour would leave the prior this share; at least 0."""
    far: NDArray[np.float64] = (1.0 - prior_share) / np.maximum(prior_share, 1e-300)
    far *= pseudo_count
    np.minimum(np.maximum(far, 1e-9, out=far), 1.0, out=far)
    np.log(far, out=far)
    far *= -2.0
    return np.sqrt(far, out=far) + 0.0  # no negative zero
