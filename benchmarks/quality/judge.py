"""Figures beside their goals, with how sure they are: bootstrap intervals, binomial bounds.

A figure is "within error" of a goal that it misses where its bootstrap interval reaches the goal: such a sample cannot
tell the two apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its value, the ends of its 95 % interval, its goal in words, and whether it is met."""

    name: str
    value: float
    low: float
    high: float
    goal: str
    met: bool
    within_error: bool = False

    def cells(self) -> tuple[str, ...]:
        """As a line of a table."""
        interval = "" if np.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"
        met = "yes" if self.met else "within error" if self.within_error else "NO"
        return self.name, f"{self.value:.3f}", interval, self.goal, met if self.goal else ""


def within(
    name: str,
    value: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    interval: tuple[float, float] = (np.nan, np.nan),
) -> Figure:
    """A figure whose goal is a range."""
    goal = f"{low:g} to {high:g}" if np.isfinite(low) and np.isfinite(high) else f"at least {low:g}"
    goal = f"at most {high:g}" if np.isinf(low) else goal
    reached = bool(interval[0] <= high and interval[1] >= low)  # not where there is no interval
    return Figure(
        name=name, value=value, low=interval[0], high=interval[1], goal=goal, met=bool(low <= value <= high),
        within_error=reached,
    )  # fmt: skip


def shown(name: str, value: float, *, interval: tuple[float, float]) -> Figure:
    """Return a figure without a goal, which explains another."""
    return Figure(name=name, value=value, low=interval[0], high=interval[1], goal="", met=True)


def bootstrap(
    statistic: Callable[..., float], *columns: NDArray[np.float64], groups: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """The 95 % interval of a statistic of columns, resampling rows, or groups of rows."""
    rng = np.random.default_rng(1)
    rows = np.arange(len(columns[0]))
    parts = [rows[i : i + 1] for i in rows] if groups is None else [rows[groups == g] for g in np.unique(groups)]
    values = []
    for _ in range(RESAMPLES):
        at = np.concatenate([parts[i] for i in rng.integers(0, len(parts), size=len(parts))])
        values.append(statistic(*(column[at] for column in columns)))
    low, high = np.nanquantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def paired(name: str, differences: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """The mean over clusters of the difference of two WAPEs; its goal is not to be above zero with confidence.

    A cluster gives, by workload, the difference of absolute errors and the sum of labels.
    """
    rng = np.random.default_rng(1)

    def wape(errors: NDArray[np.float64], labels: NDArray[np.float64], at: NDArray[np.int64]) -> float:
        return float(errors[at].sum() / labels[at].sum())

    value = float(np.mean([wape(errors, labels, np.arange(len(errors))) for errors, labels in differences]))
    draws = [
        np.mean([wape(e, labels, rng.integers(0, len(e), size=len(e))) for e, labels in differences])
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    goal = "not above 0 with 95 % confidence"
    return Figure(name=name, value=value, low=float(low), high=float(high), goal=goal, met=bool(low <= 0))


def coverage(name: str, value: float, count: int, *, low: float, high: float) -> Figure:
    """Return the share of labels in their 80 % interval, beside what chance makes of an honest 80 % over so many."""
    return replace(within(name, value, low=low, high=high, interval=_by_chance(count)), within_error=False)


def mean_coverage(name: str, parts: Sequence[float], *, low: float, high: float) -> Figure:
    """Return the mean coverage of 80 % intervals over `parts` (clusters, or clusters and times), with its bootstrap
    interval over them: the labels of one part are not independent.
    """
    values = np.array(parts)
    return within(name, float(values.mean()), low=low, high=high, interval=bootstrap(_mean, values))


def shown_coverage(name: str, value: float, count: int) -> Figure:
    """Return `coverage` without a goal."""
    return shown(name, value, interval=_by_chance(count))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _by_chance(count: int) -> tuple[float, float]:
    low, high = (float(binom.ppf((1 + side * LEVEL) / 2, count, 0.8)) / count for side in (-1, 1))
    return low, high
