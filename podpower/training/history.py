"""The periods of each entry in a few numbers: what is known of it now, and how far it strays from that."""

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, Examples, MeasuredEntries
from podpower.model.intervals import UNKNOWN_ERROR
from podpower.training.decay import HORIZONS, Periods, choose_half_life, errors_ahead, smoothed

_PRIOR_PERIODS = 2.0  # of the common spread; an entry with two hours of its own is half believed
_UNKNOWN_SPREAD = 0.08  # of log power from period to period, where no workload has two
_FARTHEST = 1.5  # the farthest horizon is what was farthest, not what comes next
_MIN_SPREAD = 1e-3  # hours that agree better than this agree by rounding


@dataclass(frozen=True, kw_only=True)
class History:
    """The periods of each entry in a few numbers: `entries` with decayed means and seconds, the mean energy of jobs,
    and how far periods are apart; and `residuals` of periods against those before, in units of that spread.
    """

    entries: MeasuredEntries
    residuals: NDArray[np.float64]
    half_life_s: float

    @classmethod
    def of(cls, examples: Examples) -> "History":
        """Return the history of each entry of the examples."""
        count = len(examples.entries)
        order = np.lexsort((examples.first_s, examples.entry))
        entry = examples.entry[order]
        periods = Periods(
            power_w=examples.power_w[order],
            seconds=examples.seconds[order],
            times_s=examples.first_s[order],
            starts=np.searchsorted(entry, np.arange(count + 1)).astype(np.int64),
        )
        half_life_s = choose_half_life(periods)
        mean, seconds = smoothed(periods, half_life_s)
        last = periods.starts[1:] - 1
        age_s = periods.times_s.max() - periods.times_s[last]
        spread, next_spread, residuals = _spread(periods, entry, half_life_s)
        energy = examples.total_energy_j[order]
        known = ~np.isnan(energy)
        totals = np.bincount(entry[known], weights=energy[known], minlength=count)
        runs = np.bincount(entry[known], minlength=count)
        measured = MeasuredEntries(
            **{field.name: getattr(examples.entries, field.name) for field in fields(examples.entries)},
            power_w=mean[last],
            total_energy_j=np.where(runs > 0, totals / np.maximum(runs, 1), np.nan),
            seconds=np.maximum(seconds[last] * 0.5 ** (age_s / half_life_s), 1e-6),
            share=_shares(examples.entries),
            spread=spread,
            next_spread=next_spread,
        )
        return cls(entries=measured, residuals=residuals, half_life_s=half_life_s)


def _shares(entries: Entries) -> NDArray[np.float64]:
    """Return one over the number of entries of each entry's workload."""
    places = list(zip(entries.clusters, entries.workloads, strict=True))
    of_workload = Counter(places)
    return np.array([1.0 / of_workload[place] for place in places])


def _spread(
    periods: Periods, entry: NDArray[np.int64], half_life_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the spread of each entry's periods, at the horizon at which they are farthest from what was known and one
    period ahead; and residuals, each divided by the spread of the other periods, which is what a new period will meet.
    """
    parts = [errors_ahead(periods, half_life_s, horizon) for horizon in HORIZONS]
    at, errors = max(parts, key=lambda part: float(np.mean(part[1] ** 2)) if len(part[1]) else -1.0)
    count = len(periods.starts) - 1
    if not len(errors):  # one period each
        return np.full(count, UNKNOWN_ERROR), np.full(count, _UNKNOWN_SPREAD), errors
    sums, number, common = _squares(entry[at], errors, count)
    owner = entry[at]
    others = _shrunk(sums[owner] - errors**2, number[owner] - 1, common)
    ahead = _squares(entry[parts[0][0]], parts[0][1], count)
    return _shrunk(sums, number, common), _shrunk(*ahead), errors / others / _FARTHEST


def _squares(
    owner: NDArray[np.int64], errors: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return sums of squared errors and their number by entry, and the mean square of the median entry: one bursty
    workload must not make all calm ones look bursty.
    """
    squares = np.bincount(owner, weights=errors**2, minlength=count).astype(np.float64)
    number = np.bincount(owner, minlength=count).astype(np.float64)
    return squares, number, max(float(np.median(squares[number > 0] / number[number > 0])), _MIN_SPREAD**2)


def _shrunk(squares: NDArray[np.float64], number: NDArray[np.float64], common: float) -> NDArray[np.float64]:
    """Return the spread of each entry, to which _PRIOR_PERIODS periods of the common spread are added."""
    spread: NDArray[np.float64] = np.sqrt((squares + _PRIOR_PERIODS * common) / (number + _PRIOR_PERIODS))
    return spread
