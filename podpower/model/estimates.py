"""Predictions as arrays over requests, and the measured entries that each rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from podpower.model.intervals import DEFAULT_LEVEL

EXPLAINED_NEIGHBOURS = 10


class Estimate(NamedTuple):
    """One row of `Estimates` as plain numbers: `low_w` and `high_w` by level, `entry` and `weight` of the neighbour of
    largest weight (-1: none).
    """

    power_w: float
    expected_power_w: float
    total_energy_j: float
    low_w: list[float]
    high_w: list[float]
    basis: Literal["seen", "similar", "prior"]
    prior_weight: float
    entry: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Predictions for m requests, each for one pod, in arrays of length m (neighbours: (m, k), largest weight first).

    `power_w` is the median of one pod, `expected_power_w` its mean, which is what adds up. `neighbour_index` points
    into the model's entries (-1: none), `neighbour_weight` is the share in the prediction; `prior_weight` is the share
    of the prior, whose own estimate is `prior_power_w`, and what is missing to 1 came from entries beyond the first k.
    `basis` is "seen", "similar" or "prior". `total_energy_j` is NaN where no neighbour is a job. `low_w` and `high_w`
    (levels, m) are the intervals' ends at each of the model's levels: 0 <= low_w <= power_w <= high_w.
    """

    power_w: NDArray[np.float64]
    expected_power_w: NDArray[np.float64]
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

    def rows(self) -> list[Estimate]:
        """Return each estimate as plain numbers, which are read faster than the cells of arrays."""
        columns = (
            self.power_w, self.expected_power_w, self.total_energy_j, self.low_w.T, self.high_w.T, self.basis,
            self.prior_weight, self.neighbour_index[:, 0], self.neighbour_weight[:, 0],
        )  # fmt: skip
        return [Estimate(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def interval(self, level: float = DEFAULT_LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return low and high watts (m,) of one level."""
        at = self.levels.index(level)
        return self.low_w[at], self.high_w[at]


@dataclass(frozen=True)
class Contributions:
    """The entries that predictions rest on, a row each: (m, EXPLAINED_NEIGHBOURS), padded with -1, NaN and 0."""

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        near: NDArray[np.int64],
        squared: NDArray[np.float64],
        weights: NDArray[np.float64],
        entries: Mapping[int, Mapping[int, float]],
        *,
        shown: int = EXPLAINED_NEIGHBOURS,
    ) -> "Contributions":
        """Return the `shown` neighbours of largest weight in each row, of `squared` distances; in the rows of `entries`
        with the weights of those, too.
        """
        rows, found = near.shape
        if shown == 1 and found:
            best = weights.argmax(axis=1)[:, None]
            best += np.arange(0, rows * found, found)[:, None]
            contributions = cls(near.take(best), np.sqrt(squared.take(best)), weights.take(best))
        else:
            shape = (rows, shown)
            contributions = cls(np.full(shape, -1), np.full(shape, np.nan), np.zeros(shape))
            order = np.argsort(-weights, axis=1, kind="stable")[:, :shown]
            shown = min(shown, found)
            contributions.index[:, :shown] = np.take_along_axis(near, order, axis=1)
            contributions.distance[:, :shown] = np.sqrt(np.take_along_axis(squared, order, axis=1))
            contributions.weight[:, :shown] = np.take_along_axis(weights, order, axis=1)
        np.copyto(contributions.index, -1, where=~np.isfinite(contributions.distance))
        for row, shares in entries.items():
            contributions._add(row, shares, near[row], np.sqrt(squared[row]), weights[row])
        return contributions

    def _add(
        self,
        row: int,
        shares: Mapping[int, float],
        near: NDArray[np.int64],
        distance: NDArray[np.float64],
        weight: NDArray[np.float64],
    ) -> None:
        """Replace a row by the largest of its neighbours and of the entries in `shares`."""
        order = np.argsort(-weight, kind="stable")[:EXPLAINED_NEIGHBOURS]
        order = order[np.isfinite(distance[order])]
        weights, distances = dict(shares), dict.fromkeys(shares, float("nan"))
        columns = (near[order].tolist(), distance[order].tolist(), weight[order].tolist())
        for entry, apart, of_neighbour in zip(*columns, strict=True):
            weights[entry] = weights.get(entry, 0.0) + of_neighbour
            distances[entry] = apart
        ordered = sorted(weights, key=lambda entry: -weights[entry])
        self.replace(row, [(entry, distances[entry], weights[entry]) for entry in ordered])

    def replace(self, row: int, entries: Sequence[tuple[int, float, float]]) -> None:
        """Replace a row: position, distance and weight, the largest weight first."""
        self.index[row], self.distance[row], self.weight[row] = -1, np.nan, 0.0
        for place, (entry, distance, weight) in enumerate(entries[: self.index.shape[1]]):
            self.index[row, place], self.distance[row, place], self.weight[row, place] = entry, distance, weight


def joined(parts: Sequence[Estimates]) -> Estimates:
    """Return the estimates of all parts, in order."""
    columns = {}
    for field in fields(Estimates):
        if field.name != "levels":
            values = [getattr(part, field.name) for part in parts]
            columns[field.name] = np.concatenate(values, axis=1 if field.name in {"low_w", "high_w"} else 0)
    return Estimates(levels=parts[0].levels, **columns)
