"""The power of many workloads together: expected watts and an interval.

Expected values add up, quantiles do not, and errors are not independent: all predictions of a model share what it does
not know of the cluster, and those of one image share what it does not know of that software. Each workload's watts are
drawn from the distribution that its own intervals describe, through a Gaussian copula with those two correlations
(Nelsen, "An Introduction to Copulas", 2nd ed., 2006, section 5.1); pods of one workload draw alike. The correlations
are chosen on random groups of held-out workloads (benchmarks/quality/accuracy.py): there the 80 % interval holds.
"""

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from podpower.model.scale import from_log, to_log

DEFAULT_LEVEL: Final = 0.8
OF_ONE_IMAGE: Final = 0.5  # correlation of errors beside the one that all share
_SHARED, _SHARED_ENTRIES, _MOST_SHARED = 0.02, 1.6, 0.2  # the more workloads were measured, the less is shared
_DRAWS: Final = 400
_CHUNK: Final = 64  # workloads drawn at a time: 100 kB, which stay in the processor's cache
_SEED: Final = 1


class PowerInterval(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Interval of the power of several pods together at the probability `level`: [low, high] in watts."""

    level: float
    avg_power_w: tuple[float, float]


class TotalPower(msgspec.Struct, kw_only=True, frozen=True):
    """Expected watts of all pods together, and their interval, which contains it."""

    avg_power_w: float
    interval: PowerInterval


class Summand(NamedTuple):
    """One workload of a sum: the median and the expected watts of a pod, its `intervals` by level ((low, high) in
    watts), and how many `pods` run on average (a schedule's mean can be a fraction). Workloads of one `image_key` err
    alike.
    """

    power_w: float
    expected_w: float
    intervals: Sequence[tuple[float, tuple[float, float]]]
    pods: float
    image_key: str | None


def shared_correlation(measured_workloads: int) -> float:
    """Return the correlation of all errors of a model that knows so many workloads."""
    return min(_MOST_SHARED, _SHARED + _SHARED_ENTRIES / max(1, measured_workloads))


def total_power(
    summands: Sequence[Summand], *, level: float = DEFAULT_LEVEL, shared: float = shared_correlation(20)
) -> TotalPower:
    """Return the expected sum and its interval of `level`; the same summands give the same bits.

    `shared` is the correlation of all errors, `shared_correlation` of the model's number of workloads.

    >>> calm = Summand(power_w=2.0, expected_w=2.0, intervals=[(0.8, (1.9, 2.1))], pods=3, image_key="nginx")
    >>> total_power([calm]).avg_power_w, total_power([calm]).interval.avg_power_w
    (6.0, (5.7, 6.3))
    """
    running = [summand for summand in summands if summand.pods > 0]
    expected_w = float(sum(summand.expected_w * summand.pods for summand in running))
    if len(running) == 1:
        low_w, high_w = (end * running[0].pods for end in _at(running[0], level))
    elif running:
        low_w, high_w = _quantiles(_draws(running, shared), (0.5 - level / 2, 0.5 + level / 2))
    else:
        low_w = high_w = 0.0
    ends = (min(low_w, expected_w), max(high_w, expected_w))
    return TotalPower(avg_power_w=expected_w, interval=PowerInterval(level=level, avg_power_w=ends))


def _at(summand: Summand, level: float) -> tuple[float, float]:
    known = dict(summand.intervals)
    if level in known:
        return known[level]
    ends = np.interp([(1 - level) / 2, (1 + level) / 2], probabilities([summand]), log_quantiles([summand])[0])
    low_w, high_w = from_log(ends).tolist()
    return low_w, high_w


def _quantiles(draws: NDArray[np.float64], at: Sequence[float]) -> list[float]:
    """Return quantiles by straight lines between draws. `np.quantile` would load numpy.ma while requests wait."""
    return np.interp(at, np.linspace(0.0, 1.0, len(draws)), np.sort(draws)).tolist()


def _draws(summands: Sequence[Summand], shared: float) -> NDArray[np.float64]:
    """Return sums of _DRAWS draws of all workloads."""
    rng = np.random.default_rng(_SEED)  # independent of those of `_residuals`
    of_all = np.float32(np.sqrt(shared)) * rng.standard_normal(_DRAWS, dtype=np.float32)
    images = {key: place for place, key in enumerate(dict.fromkeys(summand.image_key for summand in summands))}
    of_image = np.float32(np.sqrt(OF_ONE_IMAGE)) * rng.standard_normal((len(images), _DRAWS), dtype=np.float32)
    of_image += of_all
    rest = np.float32(np.sqrt(max(0.0, 1.0 - shared - OF_ONE_IMAGE)))
    normal = NormalDist()
    knots = [normal.inv_cdf(probability) for probability in probabilities(summands)]
    sums = np.zeros(_DRAWS)
    for start in range(0, len(summands), _CHUNK):
        part = summands[start : start + _CHUNK]
        errors = _residuals(start // _CHUNK)[: len(part)] * rest
        errors += of_image[[images[summand.image_key] for summand in part]]
        pods = np.array([summand.pods for summand in part], dtype=np.float32)
        sums += pods @ from_log(_interpolated(errors, knots, log_quantiles(part)))
    return sums


@lru_cache(maxsize=16)  # 1.6 MB: most sums are of fewer than a thousand workloads
def _residuals(chunk: int) -> NDArray[np.float32]:
    """Return standard normal draws (_CHUNK, _DRAWS) of the workloads of one chunk."""
    return np.random.default_rng((_SEED, 1 + chunk)).standard_normal((_CHUNK, _DRAWS), dtype=np.float32)


def _interpolated(at: NDArray[np.float32], knots: Sequence[float], values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the function of each row of `values` (n, knots) at its row of `at` (n, m), which is overwritten: straight
    lines between the knots, constant beyond them.
    """
    np.clip(at, knots[0], knots[-1], out=at)
    slopes = np.diff(values, axis=1) / np.diff(knots)
    bends = np.diff(slopes, axis=1).astype(np.float32)
    # A line that bends at each inner knot: a x + b + sum of bend x max(x, knot).
    offset = values[:, 0] - slopes[:, 0] * knots[0] - np.diff(slopes, axis=1) @ np.array(knots[1:-1])
    found = at * slopes[:, :1].astype(np.float32)
    found += offset[:, None].astype(np.float32)
    bent = np.empty_like(at)
    for place, knot in enumerate(knots[1:-1]):
        np.maximum(at, np.float32(knot), out=bent)
        bent *= bends[:, place : place + 1]
        found += bent
    return found


def probabilities(summands: Sequence[Summand]) -> list[float]:
    """Return the probabilities (knots) at which `log_quantiles` are given: those of intervals' ends and 0.5."""
    levels = sorted(level for level, _ in summands[0].intervals)
    return [0.5 - level / 2 for level in reversed(levels)] + [0.5] + [0.5 + level / 2 for level in levels]


def log_quantiles(summands: Sequence[Summand]) -> NDArray[np.float64]:
    """Return log watts (n, knots) of each workload at the ends of its intervals and at its median, never falling."""
    watts = [
        [*(low for _, (low, _) in reversed(ends)), power_w, *(high for _, (_, high) in ends)]
        for power_w, ends in ((summand.power_w, sorted(summand.intervals)) for summand in summands)
    ]
    quantiles: NDArray[np.float64] = np.maximum.accumulate(to_log(np.array(watts)), axis=1)
    return quantiles
