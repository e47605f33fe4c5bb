"""Exponential decay of old periods, so that a workload that changed is predicted from its new periods.

A period is an hour, or ten minutes where all labels are of less than an hour (`TrainingSet.examples`). It counts half
as much as one that is a half-life younger. The half-life is the one that predicted each period best from those before
it (exponential smoothing chosen by one-step errors; Hyndman and Athanasopoulos, "Forecasting: Principles and Practice",
3rd ed., chapter 8).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podpower.hours import HOUR_S
from podpower.model.scale import to_log

HALF_LIVES_S = (np.inf, 168 * HOUR_S, 48 * HOUR_S, 24 * HOUR_S, 12 * HOUR_S, 6 * HOUR_S, 3 * HOUR_S)
_WORTH = 0.98  # forgetting faster must lower the error by this factor: a long memory is the calmer one
HORIZONS = (1, 3, 6, 12, 24)  # periods ahead at which errors are gathered for the interval


@dataclass(frozen=True, kw_only=True)
class Periods:
    """Power (n,), known seconds (n,) and times (n,) of periods in the order of entry and time; `starts` (m + 1,) are
    the positions at which the periods of each of m entries begin.
    """

    power_w: NDArray[np.float64]
    seconds: NDArray[np.float64]
    times_s: NDArray[np.float64]
    starts: NDArray[np.int64]

    @property
    def rank(self) -> NDArray[np.int64]:
        """The number of periods of its entry before each."""
        return np.arange(len(self.power_w)) - np.repeat(self.starts[:-1], np.diff(self.starts))


def smoothed(periods: Periods, half_life_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """After each period the decayed mean power (n,) of its entry's periods so far, and their decayed seconds (n,)."""
    mean, weight = periods.power_w.copy(), periods.seconds.copy()
    rank = periods.rank
    for place in range(1, int(rank.max(initial=0)) + 1):
        at = np.flatnonzero(rank == place)
        kept = weight[at - 1] * 0.5 ** ((periods.times_s[at] - periods.times_s[at - 1]) / half_life_s)
        total = kept + weight[at]
        mean[at] = (kept * mean[at - 1] + weight[at] * mean[at]) / total
        weight[at] = total
    return mean, weight


def errors_ahead(periods: Periods, half_life_s: float, horizon: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the periods that have one `horizon` before them, and their log power minus that of the mean up
    to there.
    """
    mean, _ = smoothed(periods, half_life_s)
    at = np.flatnonzero(periods.rank >= horizon)
    return at, to_log(periods.power_w[at]) - to_log(mean[at - horizon])


def choose_half_life(periods: Periods) -> float:
    """Return the half-life in seconds, or infinity, that predicted periods best from those before."""
    best, least = np.inf, np.inf
    for half_life_s in HALF_LIVES_S:
        _, errors = errors_ahead(periods, half_life_s, 1)
        if not len(errors):
            return np.inf
        loss = float(np.mean(errors**2))
        if loss < least * _WORTH - 1e-12:
            best, least = half_life_s, loss
    return best
