"""Interval of a difference, in which errors that are common to both sides cancel.

Both specs of one workload are predicted from the same neighbours and the same prior, and what the workload itself does
unlike others it does in both. The variance of the difference of their log errors is therefore only

    s_d^2 = s_r^2 + s_u^2 x sum_i (w_i - w'_i)^2

`s_r` is what revisions of a workload differ by (residuals of new specs of known workloads), `s_u` the error of unseen
workloads, and `w`, `w'` the weights of neighbours and prior in both predictions. With the standard deviations `s`, `s'`
of both errors the correlation is (s^2 + s'^2 - s_d^2) / (2 s s'), the identity of a difference's variance. Where only
the number of pods changes, both sides have the same error: 1. Other software has no error of its own in common. Draws
then come from the Gaussian copula of `podpower.model.totals`, both sides of a pair with that correlation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from podpower.model.intervals import DEFAULT_LEVEL, Intervals
from podpower.model.scale import from_log, to_log
from podpower.model.totals import OF_ONE_IMAGE, Summand, log_quantiles, probabilities

_SEED: Final = 2
_FEW_DRAWS, _MANY_DRAWS, _MANY_PAIRS = 1000, 4000, 200
_Z80: Final = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both sides of a changed workload; None: absent. `correlation` is that of their log errors; `kwh_per_w` of each
    side is the energy of a month for a watt of its mean power (None: unknown).
    """

    old: Summand | None
    new: Summand | None
    correlation: float
    old_kwh_per_w: float | None = 0.73
    new_kwh_per_w: float | None = 0.73


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Low and high end of the difference of each pair in watts, and of all together in watts and kWh a month."""

    pairs_w: Sequence[tuple[float, float]]
    total_w: tuple[float, float]
    total_kwh: tuple[float, float]


def correlation_of(
    intervals: Intervals, *, old: Summand, new: Summand, old_weights: Mapping[str, float],
    new_weights: Mapping[str, float], same_spec: bool,
) -> float:  # fmt: skip
    """Return the correlation of the log errors of two predictions of one workload. The weights are shares of
    neighbours and prior by name.
    """
    if same_spec:
        return 1.0
    if old.image_key != new.image_key:
        return 0.0
    before, after = _spread(old), _spread(new)
    if before <= 0 or after <= 0:
        return 0.0
    low, high = intervals.bounds[DEFAULT_LEVEL]["revised"]
    revised = (high - low) / 2 / _Z80 * intervals.typical
    names = set(old_weights) | set(new_weights)
    apart = sum((old_weights.get(name, 0.0) - new_weights.get(name, 0.0)) ** 2 for name in names)
    variance = revised**2 + intervals.typical**2 * apart
    return float(np.clip((before**2 + after**2 - variance) / (2 * before * after), 0.0, 1.0))


def _spread(summand: Summand) -> float:
    """Return the standard deviation of the log error that the 80 % interval describes."""
    ends = dict(summand.intervals)[DEFAULT_LEVEL]
    low, high = to_log(np.array(ends))
    return float(high - low) / 2 / _Z80


def difference_ends(pairs: Iterable[Pair], *, count: int, shared: float, level: float = DEFAULT_LEVEL) -> Ends:
    """Return the intervals of `level` of `count` pairs; the same pairs give the same bits. `shared` is the correlation
    of all errors of the model. Each interval contains the difference of the expected values.
    """
    draws = _FEW_DRAWS if count > _MANY_PAIRS else _MANY_DRAWS
    rng = np.random.default_rng(_SEED)
    of_all = np.sqrt(shared) * rng.standard_normal(draws)
    of_image: dict[str | None, NDArray[np.float64]] = {}
    at = (0.5 - level / 2, 0.5 + level / 2)
    sum_w, sum_kwh, expected_w, expected_kwh = np.zeros(draws), np.zeros(draws), 0.0, 0.0
    found = []

    def image(key: str | None) -> NDArray[np.float64]:
        if key not in of_image:
            of_image[key] = np.sqrt(OF_ONE_IMAGE) * rng.standard_normal(draws)
        return of_image[key]

    for pair in pairs:
        rest = max(0.0, 1.0 - shared - OF_ONE_IMAGE)
        common = shared + (OF_ONE_IMAGE if pair.old and pair.new and pair.old.image_key == pair.new.image_key else 0.0)
        own = float(np.clip((pair.correlation - common) / rest, 0.0, 1.0)) if rest > 0 else 0.0
        first, second = rng.standard_normal((2, draws))
        errors = {"old": first, "new": own * first + np.sqrt(1.0 - own**2) * second}
        delta_w, mean_w = np.zeros(draws), 0.0
        for side, sign, per_w in (("old", -1.0, pair.old_kwh_per_w), ("new", 1.0, pair.new_kwh_per_w)):
            summand = getattr(pair, side)
            if summand is None:
                continue
            watts = _drawn(summand, of_all + image(summand.image_key) + np.sqrt(rest) * errors[side])
            expected = summand.expected_w * summand.pods
            delta_w += sign * watts
            mean_w += sign * expected
            if per_w is not None:
                sum_kwh += sign * per_w * watts
                expected_kwh += sign * per_w * expected
        sum_w += delta_w
        expected_w += mean_w
        found.append(_around(np.quantile(delta_w, at), mean_w))
    return Ends(
        pairs_w=found,
        total_w=_around(np.quantile(sum_w, at), expected_w),
        total_kwh=_around(np.quantile(sum_kwh, at), expected_kwh),
    )


def _drawn(summand: Summand, errors: NDArray[np.float64]) -> NDArray[np.float64]:
    normal = NormalDist()
    knots = np.array([normal.inv_cdf(probability) for probability in probabilities([summand])])
    watts: NDArray[np.float64] = summand.pods * from_log(np.interp(errors, knots, log_quantiles([summand])[0]))
    return watts


def _around(ends: NDArray[np.float64], expected: float) -> tuple[float, float]:
    return min(float(ends[0]), expected), max(float(ends[1]), expected)
