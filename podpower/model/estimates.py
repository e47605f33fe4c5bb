"""What predictions are asked for, what they are, and what they rest on: arrays over requests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podpower.model.index import Workload
from podpower.model.intervals import DEFAULT_LEVEL

EXPLAINED_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Queries:
    """What predictions are asked for: vectors (m, dim) of an encoder, and of each spec its hash, its (namespace, kind,
    name) and cluster (None: whichever the model was trained on), what keeps its pods alive (`podpower.features.names`),
    the image key of its main container and its physical estimate in watts (NaN: not known).
    """

    vectors: NDArray[np.float32]
    spec_hashes: Sequence[str]
    workloads: Sequence[Workload]
    clusters: Sequence[str | None]
    kinds: Sequence[str]
    image_keys: Sequence[str | None]
    physical_power_w: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.spec_hashes)

    def part(self, rows: slice) -> "Queries":
        """Those of `rows`."""
        return Queries(
            vectors=self.vectors[rows],
            spec_hashes=self.spec_hashes[rows],
            workloads=self.workloads[rows],
            clusters=self.clusters[rows],
            kinds=self.kinds[rows],
            image_keys=self.image_keys[rows],
            physical_power_w=self.physical_power_w[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Predictions for m requests, each for one pod, in arrays of length m (neighbours: (m, k), weightiest first).

    `neighbour_index` points into the model's index (-1: none), `neighbour_weight` is the share in the prediction;
    `prior_weight` is the prior's, which alone says `prior_power_w`, and what is missing to 1 came from entries beyond
    the first k. `basis` is "seen", "similar" or "prior". `total_energy_j` is NaN where no neighbour is a job. `low_w`
    and `high_w` (levels, m) are the intervals' ends at each of the model's levels: 0 <= low_w <= power_w <= high_w.
    """

    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    levels: tuple[float, ...]
    low_w: NDArray[np.float64]
    high_w: NDArray[np.float64]
    basis: NDArray[np.object_]
    prior_weight: NDArray[np.float64]
    prior_power_w: NDArray[np.float64]
    neighbour_index: NDArray[np.int64]
    neighbour_distance: NDArray[np.float64]
    neighbour_weight: NDArray[np.float64]

    def interval(self, level: float = DEFAULT_LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Low and high watts (m,) of one level."""
        at = self.levels.index(level)
        return self.low_w[at], self.high_w[at]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What predictions rest on, a row each: (m, EXPLAINED_NEIGHBOURS), padded with -1, NaN and 0."""

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    weight: NDArray[np.float64]

    def row(self, row: int) -> list[tuple[int, float, float]]:
        """Position, distance and weight of those told in a row."""
        columns = (self.index[row].tolist(), self.distance[row].tolist(), self.weight[row].tolist())
        return [told for told in zip(*columns, strict=True) if told[0] >= 0]

    def tell(self, row: int, evidence: Sequence[tuple[int, float, float]]) -> None:
        """Write a row anew: position, distance and weight, those that count most first."""
        self.index[row], self.distance[row], self.weight[row] = -1, np.nan, 0.0
        for place, (entry, distance, weight) in enumerate(evidence[: self.index.shape[1]]):
            self.index[row, place], self.distance[row, place], self.weight[row, place] = entry, distance, weight


def weightiest(near: NDArray[np.int64], distance: NDArray[np.float64], weights: NDArray[np.float64]) -> Told:
    """The neighbours that count most in each row."""
    rows, found = near.shape
    shown = min(EXPLAINED_NEIGHBOURS, found)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :shown]
    told = Told(
        index=np.full((rows, EXPLAINED_NEIGHBOURS), -1, dtype=np.int64),
        distance=np.full((rows, EXPLAINED_NEIGHBOURS), np.nan),
        weight=np.zeros((rows, EXPLAINED_NEIGHBOURS)),
    )
    told.index[:, :shown] = np.take_along_axis(near, order, axis=1)
    told.distance[:, :shown] = np.take_along_axis(distance, order, axis=1)
    told.weight[:, :shown] = np.take_along_axis(weights, order, axis=1)
    return told


def joined(parts: Sequence[Estimates]) -> Estimates:
    """Those of all parts, in order."""
    along = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _BY_REQUEST}
    ends = {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("low_w", "high_w")}
    return Estimates(levels=parts[0].levels, **along, **ends)


_BY_REQUEST = (
    "power_w", "total_energy_j", "basis", "prior_weight", "prior_power_w",
    "neighbour_index", "neighbour_distance", "neighbour_weight",
)  # fmt: skip
