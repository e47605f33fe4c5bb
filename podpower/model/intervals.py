"""Prediction intervals from what the model got wrong on workloads that it had not seen.

Split-conformal quantiles of signed log residuals, gathered by cross-validation over groups: Barber, Candes, Ramdas and
Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49(1), 2021 (the CV+ construction, without
the re-centring on each fold's prediction), by basis and in units of an expected error that grows with remoteness
(Lei et al., "Distribution-free predictive inference for regression", JASA 113(523), 2018, section 5.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Basis = Literal["seen", "similar", "prior"]
BASES: tuple[Basis, ...] = ("seen", "similar", "prior")
# What residuals are gathered by: a new spec of a known workload is "similar", but errs by what revisions differ; a spec
# that was measured in another workload or cluster only is "seen", but errs by what such workloads differ.
Source = Literal["seen", "similar", "prior", "revised", "elsewhere"]
SOURCES: tuple[Source, ...] = (*BASES, "revised", "elsewhere")
LEVELS = (0.5, 0.8, 0.95)
DEFAULT_LEVEL = 0.8
# Before any residual is known, a factor of 10 either way holds 80 %: about what separates workloads of a cluster. This
# assumption counts for as many residuals as follows, and so is forgotten smoothly; it is spread as a normal is.
ASSUMED_RESIDUALS = 4.0
_ASSUMED_SPREAD = float(np.log(10.0)) / 1.2816
_ASSUMED = _ASSUMED_SPREAD * np.array([NormalDist().inv_cdf((place + 0.5) / 80) for place in range(80)])
_BORROWED = 20.0  # residuals of other bases count as many residuals as this lacks of a basis' own


@dataclass(frozen=True, kw_only=True)
class Widening:
    """The expected absolute log error of the unseen by remoteness: straight lines between points, never falling."""

    remote: tuple[float, ...]
    expected: tuple[float, ...]

    def at(self, remote: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return expected absolute log errors (n,)."""
        expected: NDArray[np.float64] = np.interp(remote, *self._points)
        return expected

    @cached_property
    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.remote), np.array(self.expected)


UNKNOWN_ERROR = _ASSUMED_SPREAD * 0.8  # the mean absolute value of a normal
UNKNOWN_WIDENING = Widening(remote=(0.0,), expected=(UNKNOWN_ERROR,))
_LEAST = 0.02  # of the expected error: intervals narrower than two percent claim more than a counter can
_A_POINT = 12  # residuals behind each point of the line, at least
_POINTS = 12
_BELIEVED = 4.0  # residuals of ordinary size that are added to those of a point


def fit_widening(remote: NDArray[np.float64], residuals: NDArray[np.float64]) -> Widening:
    """Return the mean absolute residuals of equally many by remoteness, pooled until they rise (isotonic
    regression).
    """
    if len(residuals) < 2:
        return UNKNOWN_WIDENING
    order = np.argsort(remote, kind="stable")
    parts = np.array_split(order, max(1, min(_POINTS, len(order) // _A_POINT)))
    absolute = np.abs(residuals)
    ordinary = float(absolute.mean())
    means = [(absolute[p].sum() + _BELIEVED * ordinary) / (len(p) + _BELIEVED) for p in parts]
    rising = isotonic(np.array(means), np.array([len(p) for p in parts], dtype=float))
    return Widening(
        remote=tuple(float(remote[p].mean()) for p in parts),
        expected=tuple(float(max(value, _LEAST)) for value in rising),
    )


def isotonic(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rising sequence nearest to `values` by weighted least squares, by pooling adjacent violators (Barlow
    et al., "Statistical Inference under Order Restrictions", 1972).
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            before = pools.pop()
            total = before[1] + pool[1]
            pool = ((before[0] * before[1] + pool[0] * pool[1]) / total, total, before[2] + pool[2])
        pools.append(pool)
    return np.repeat([value for value, _, _ in pools], [count for _, _, count in pools])


# What a known workload does at hours that were never watched: mostly within a third of what it did, and less where it
# hardly changed from period to period. Chosen on simulated days, over start hours and horizons of 1 to 12 hours.
_MOST_UNWATCHED, _UNWATCHED = 0.3, 3.3


def least_spread(next_spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of log power at other hours, from that one period ahead."""
    spread: NDArray[np.float64] = np.minimum(_MOST_UNWATCHED, _UNWATCHED * next_spread)
    return spread


_SIDES = np.array([-1.0, 1.0]).reshape(2, 1, 1)  # of the ends of an interval


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Ends of the intervals around a prediction, by level and source (SOURCES), in units of a scale.

    `bounds` has the lower and upper quantile of the residuals that contain the level's share of them: lower <= 0 <=
    upper, and the interval of a higher level contains that of a lower one. The scale depends on the source:

    - "seen": the spread of the entry's own periods; a calm workload has a narrower interval than a bursty one;
    - "similar" and "prior": the error that `widening` expects at the prediction's remoteness;
    - "elsewhere" (a known spec in another workload): `nearest`, the expected error of the least remote;
    - "revised" (a new spec of a known workload): `typical`, the mean expected error of unseen workloads.
    """

    bounds: dict[float, dict[str, tuple[float, float]]]
    widening: Widening
    typical: float

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels, ascending."""
        return tuple(self.bounds)

    @property
    def nearest(self) -> float:
        """The expected absolute log error of what is least remote."""
        return self.widening.expected[0]

    def ends(
        self,
        log_values: NDArray[np.float64],
        source: NDArray[np.int64],
        scale: NDArray[np.float64],
        *,
        least: NDArray[np.float64] | None,
        beside: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Return the lower and upper ends (2, levels, n) of the intervals around log predictions, on the log scale.

        `source` are positions in SOURCES, `scale` is the expected error, `least` the standard deviation below which no
        interval is narrower, `beside` that of an independent error (None: there is none for any of them).
        """
        widths: NDArray[np.float64] = self._widths.take(source, axis=2) * scale
        if beside is not None:
            np.hypot(widths, self._deviations * beside, out=widths)
        if least is not None:
            np.maximum(widths, self._deviations * least, out=widths)
        widths *= _SIDES
        widths += log_values
        return widths

    @cached_property
    def _widths(self) -> NDArray[np.float64]:
        """The distances of the bounds from 0, (2, levels, sources)."""
        return np.array(
            [[[abs(bounds[source][end]) for source in SOURCES] for bounds in self.bounds.values()] for end in (0, 1)]
        )

    @cached_property
    def _deviations(self) -> NDArray[np.float64]:
        """The standard deviations (levels, 1) at the ends of a normal's intervals."""
        return np.array([[NormalDist().inv_cdf(0.5 + level / 2)] for level in self.bounds])

    def state(self) -> dict[str, Any]:
        """Return plain numbers for the artifact."""
        return {
            "levels": list(self.levels),
            "bounds": {basis: [list(self.bounds[level][basis]) for level in self.levels] for basis in SOURCES},
            "widening": [list(self.widening.remote), list(self.widening.expected)],
            "typical": self.typical,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Intervals":
        """Return the intervals that gave `state`. ValueError when it is none."""
        if set(state["bounds"]) != set(SOURCES) or list(state["levels"]) != sorted(state["levels"]):
            raise ValueError(f"interval bounds for {sorted(state['bounds'])} instead of {sorted(SOURCES)}")
        remote, expected = (tuple(float(number) for number in numbers) for numbers in state["widening"])
        if len(remote) != len(expected) or not remote or list(remote) != sorted(remote):
            raise ValueError("the widening of intervals is no line")
        bounds: dict[float, dict[str, tuple[float, float]]] = {}
        for place, level in enumerate(state["levels"]):
            pairs = {source: state["bounds"][source][place] for source in SOURCES}
            bounds[float(level)] = {basis: (float(low), float(high)) for basis, (low, high) in pairs.items()}
        if DEFAULT_LEVEL not in bounds:
            raise ValueError(f"no interval of {DEFAULT_LEVEL:.0%}")
        widening = Widening(remote=remote, expected=expected)
        return cls(bounds=bounds, widening=widening, typical=float(state["typical"]))


def fit_intervals(
    residuals: Mapping[Source, NDArray[np.float64]],
    *,
    widening: Widening,
    typical: float = UNKNOWN_ERROR,
    familiar: NDArray[np.float64] | None = None,
) -> Intervals:
    """Return intervals from signed log residuals (measured - predicted) by source, each over its expected error.

    All but "seen" with few residuals of their own borrow from all unseen together; "elsewhere" from `familiar`, the
    workloads whose software was measured in another one, since a known spec is at least as well known. `typical` is the
    expected error of the unseen on average. What is assumed before any residual is known counts for ASSUMED_RESIDUALS
    of them. "seen" never borrows, because it errs on another scale: without residuals its interval is `least_spread`.
    It counts its residuals to both sides: they are of a time in which load rose or fell everywhere at once, which is no
    sign of the next.
    """
    unseen = np.concatenate([residuals["similar"], residuals["prior"]])
    assumed = (_ASSUMED / typical, ASSUMED_RESIDUALS)
    like = {"elsewhere": familiar} if familiar is not None and len(familiar) else {}
    bounds: dict[float, dict[str, tuple[float, float]]] = {level: {} for level in LEVELS}
    for basis in SOURCES:
        own = residuals[basis]
        parts = [(np.concatenate([own, -own]) if basis == "seen" else own, float(len(own)))]
        if basis != "seen":
            others = like.get(basis, unseen)
            borrowed = max(0.0, _BORROWED - len(own))
            parts += [(others, min(borrowed, float(len(others)))), assumed]
        parts = [(r, weight) for r, weight in parts if len(r) and weight > 0]
        for level, ends in zip(LEVELS, _quantiles(parts, LEVELS) if parts else [(0.0, 0.0)] * len(LEVELS), strict=True):
            bounds[level][basis] = ends
    return Intervals(bounds=_nested(bounds), widening=widening, typical=typical)


def _quantiles(parts: list[tuple[NDArray[np.float64], float]], levels: Sequence[float]) -> list[tuple[float, float]]:
    """Return for each level the weighted quantile that leaves (1 - level) / 2 above it, and its mirror. Each part's
    weight is spread evenly over its residuals. What is assumed takes the place of the residual of the new workload
    itself, which the finite-sample correction of conformal prediction puts at infinity.
    """
    values = np.concatenate([residuals for residuals, _ in parts])
    weights = np.concatenate([np.full(len(residuals), weight / len(residuals)) for residuals, weight in parts])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    from_below, from_above = np.cumsum(weights), np.cumsum(weights[::-1])
    last, found = len(values) - 1, []
    for level in levels:
        rank = float(from_below[-1]) * (1.0 + level) / 2.0 - 1e-9
        upper = min(last, int(np.searchsorted(from_below, rank)))
        lower = last - min(last, int(np.searchsorted(from_above, rank)))
        found.append((min(0.0, float(values[lower])), max(0.0, float(values[upper]))))
    return found


def _nested(
    bounds: dict[float, dict[str, tuple[float, float]]],
) -> dict[float, dict[str, tuple[float, float]]]:
    widest: dict[str, tuple[float, float]] = dict.fromkeys(SOURCES, (0.0, 0.0))
    nested: dict[float, dict[str, tuple[float, float]]] = {}
    for level in sorted(bounds):
        widest = {
            basis: (min(widest[basis][0], low), max(widest[basis][1], high))
            for basis, (low, high) in bounds[level].items()
        }
        nested[level] = widest
    return nested
