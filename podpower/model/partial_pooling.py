"""From what is always known to what is known best: prior, neighbours, same image, same software, same workload.

Each rung is a weighted mean of measured entries that is shrunk to the rung below by a mass: where there is no evidence
the rung below stands, where there is much it is forgotten (partial pooling; Gelman and Hill, "Data Analysis Using
Regression and Multilevel/Hierarchical Models", 2007, chapter 12). All weights are positive and add up to 1 with that
of the prior, so every prediction can name what it rests on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Masses:
    """How many entries at distance 0 each rung below counts for, against the one named."""

    neighbours: float
    image: float
    alike: float
    owner: float

    def state(self) -> dict[str, float]:
        """Plain numbers for the artifact."""
        return {name: getattr(self, name) for name in MASSES}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Masses":
        """The masses that gave `state`. ValueError when they are none."""
        masses = {name: float(state[name]) for name in MASSES}
        if not all(mass > 0 for mass in masses.values()):
            raise ValueError("masses must be positive")
        return cls(**masses)


MASSES = ("neighbours", "image", "alike", "owner")


@dataclass
class Climb:
    """Estimates (m,) on their way up: their log value, the share of the prior in them, and the weights (m, k) of their
    k neighbours. What is missing to 1 are entries beyond those.
    """

    logs: NDArray[np.float64]
    prior_share: NDArray[np.float64]
    weights: NDArray[np.float64]

    def step(
        self,
        total: NDArray[np.float64],
        weighted: NDArray[np.float64],
        mass: float,
        of_neighbours: NDArray[np.float64] | None = None,
    ) -> None:
        """One rung: entries of `total` weight (m,) whose weighted log values sum to `weighted` (m,); those among the
        neighbours have the weights `of_neighbours` (m, k).
        """
        if not np.isfinite(mass):
            return
        below = mass / (total + mass)
        self.logs = below * self.logs + weighted / (total + mass)
        self.prior_share = self.prior_share * below
        self.weights = self.weights * below[:, None]
        if of_neighbours is not None:
            self.weights = self.weights + of_neighbours / (total + mass)[:, None]


def start(prior_logs: NDArray[np.float64], neighbours: int) -> Climb:
    """At the foot: the prior alone."""
    count = len(prior_logs)
    return Climb(logs=prior_logs.copy(), prior_share=np.ones(count), weights=np.zeros((count, neighbours)))


def remoteness(prior_share: NDArray[np.float64], mass: float) -> NDArray[np.float64]:
    """How far away (in bandwidths) a single neighbour would be that left the prior this share: 0 for the best known."""
    evidence = mass * (1.0 - prior_share) / np.maximum(prior_share, 1e-300)
    far: NDArray[np.float64] = np.sqrt(np.maximum(-2.0 * np.log(np.clip(evidence, 1e-9, 1.0)), 0.0))
    return far
