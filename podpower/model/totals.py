"""The power of many workloads together: expected watts and an interval.

Expected values add up, quantiles do not, and errors are not independent: all predictions of a model share what it does
not know of the cluster, and those of one image share what it does not know of that software. Each workload's watts are
drawn from the distribution that its own intervals describe, through a Gaussian copula with those two correlations
(Nelsen, "An Introduction to Copulas", 2nd ed., 2006, section 5.1); pods of one workload draw alike. The correlations
are chosen on random groups of held-out workloads (benchmarks/bench_accuracy.py): there the 80 % interval holds.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple, Self

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


class Summands:
    """Workloads of a sum in columns, of which none is an object that a garbage collection would look at."""

    def __init__(self) -> None:
        self.levels: list[float] = []  # of all workloads: of the first one
        self._watts = array("d")  # of each the ends of its intervals and its median, from low to high
        self._expected_w, self._pods = array("d"), array("d")
        self._image_keys: list[str | None] = []

    @classmethod
    def of(cls, summands: Iterable[Summand]) -> Self:
        """Return the columns of these summands."""
        columns = cls()
        for summand in summands:
            columns.add(summand)
        return columns

    def __len__(self) -> int:
        return len(self._pods)

    def add(self, summand: Summand) -> None:
        """Append a workload."""
        ends = sorted(summand.intervals)
        levels = [level for level, _ in ends]
        watts = knot_watts(summand.power_w, [watts for _, watts in ends])
        self.append(levels, watts, summand.expected_w, summand.pods, summand.image_key)

    def append(
        self, levels: list[float], watts: Iterable[float], expected_w: float, pods: float, image_key: str | None
    ) -> None:
        """Append a workload: rising `levels`, and `knot_watts` of them."""
        if not self._pods:
            self.levels = levels
        self._watts.extend(watts)
        self._expected_w.append(expected_w)
        self._pods.append(pods)
        self._image_keys.append(image_key)

    def where(self, keep: Iterable[bool]) -> "Summands":
        """Return those workloads for which `keep` is True."""
        rows = [row for row, kept in enumerate(keep) if kept]
        if len(rows) == len(self):
            return self
        found = Summands()
        found.levels = self.levels
        found._watts = array("d", self.watts()[rows].tobytes())
        found._expected_w = array("d", [self._expected_w[row] for row in rows])
        found._pods = array("d", [self._pods[row] for row in rows])
        found._image_keys = [self._image_keys[row] for row in rows]
        return found

    def running(self) -> "Summands":
        """Return those workloads that have pods."""
        return self.where(pods > 0 for pods in self._pods)

    def expected_w(self) -> float:
        """Return the expected watts of all pods together."""
        return float(sum(watts * pods for watts, pods in zip(self._expected_w, self._pods, strict=True)))

    def watts(self) -> NDArray[np.float64]:
        """Return watts (n, knots) at the `probabilities`."""
        return np.frombuffer(self._watts).reshape(len(self), 2 * len(self.levels) + 1)

    def pods(self) -> NDArray[np.float64]:
        """Return the number of pods of each workload."""
        return np.frombuffer(self._pods)

    def images(self) -> list[int]:
        """Return the number of each workload's image, counted as they come."""
        places = {key: place for place, key in enumerate(dict.fromkeys(self._image_keys))}
        return [places[key] for key in self._image_keys]


def shared_correlation(measured_workloads: int) -> float:
    """Return the correlation of all errors of a model that knows so many workloads."""
    return min(_MOST_SHARED, _SHARED + _SHARED_ENTRIES / max(1, measured_workloads))


def total_power(
    summands: Summands | Sequence[Summand], *, level: float = DEFAULT_LEVEL, shared: float = shared_correlation(20)
) -> TotalPower:
    """Return the expected sum and its interval of `level`; the same summands give the same bits.

    `shared` is the correlation of all errors, `shared_correlation` of the model's number of workloads.

    >>> calm = Summand(power_w=2.0, expected_w=2.0, intervals=[(0.8, (1.9, 2.1))], pods=3, image_key="nginx")
    >>> total_power([calm]).avg_power_w, total_power([calm]).interval.avg_power_w
    (6.0, (5.7, 6.3))
    """
    running = (summands if isinstance(summands, Summands) else Summands.of(summands)).running()
    expected_w = running.expected_w()
    if len(running) == 1:
        pods = float(running.pods()[0])
        low_w, high_w = (end * pods for end in _at(running, level))
    elif len(running):
        low_w, high_w = _quantiles(_draws(running, shared), (0.5 - level / 2, 0.5 + level / 2))
    else:
        low_w = high_w = 0.0
    ends = (min(low_w, expected_w), max(high_w, expected_w))
    return TotalPower(avg_power_w=expected_w, interval=PowerInterval(level=level, avg_power_w=ends))


def _at(summands: Summands, level: float) -> tuple[float, float]:
    """Return the interval of the first workload."""
    watts = summands.watts()[:1]
    if level in summands.levels:
        place = len(summands.levels) - 1 - summands.levels.index(level)
        return float(watts[0, place]), float(watts[0, -1 - place])
    at = [(1 - level) / 2, (1 + level) / 2]
    low_w, high_w = from_log(np.interp(at, _probabilities(summands.levels), _never_falling(watts)[0])).tolist()
    return low_w, high_w


def _quantiles(draws: NDArray[np.float64], at: Sequence[float]) -> list[float]:
    """Return quantiles by straight lines between draws. `np.quantile` would load numpy.ma while requests wait."""
    return np.interp(at, np.linspace(0.0, 1.0, len(draws)), np.sort(draws)).tolist()


def _draws(summands: Summands, shared: float) -> NDArray[np.float64]:
    """Return sums of _DRAWS draws of all workloads."""
    rng = np.random.default_rng(_SEED)  # independent of those of `_residuals`
    of_all = np.float32(np.sqrt(shared)) * rng.standard_normal(_DRAWS, dtype=np.float32)
    images = summands.images()
    of_image = np.float32(np.sqrt(OF_ONE_IMAGE)) * rng.standard_normal((max(images) + 1, _DRAWS), dtype=np.float32)
    of_image += of_all
    rest = np.float32(np.sqrt(max(0.0, 1.0 - shared - OF_ONE_IMAGE)))
    normal = NormalDist()
    knots = [normal.inv_cdf(probability) for probability in _probabilities(summands.levels)]
    watts, pods, sums = summands.watts(), summands.pods().astype(np.float32), np.zeros(_DRAWS)
    for start in range(0, len(summands), _CHUNK):
        part = slice(start, start + _CHUNK)
        errors = _residuals(start // _CHUNK)[: len(pods[part])] * rest
        errors += of_image[images[part]]
        sums += pods[part] @ from_log(_interpolated(errors, knots, _never_falling(watts[part])))
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
    return _probabilities(sorted(level for level, _ in summands[0].intervals))


def log_quantiles(summands: Sequence[Summand]) -> NDArray[np.float64]:
    """Return log watts (n, knots) of each workload at the ends of its intervals and at its median, never falling."""
    return _never_falling(
        np.array([knot_watts(one.power_w, [w for _, w in sorted(one.intervals)]) for one in summands])
    )


def _probabilities(levels: Sequence[float]) -> list[float]:
    return [0.5 - level / 2 for level in reversed(levels)] + [0.5] + [0.5 + level / 2 for level in levels]


def knot_watts(power_w: float, ends: Sequence[tuple[float, float]]) -> list[float]:
    """Return the watts at `probabilities`, of intervals by rising level."""
    return [low for low, _ in reversed(ends)] + [power_w] + [high for _, high in ends]


def _never_falling(watts: NDArray[np.float64]) -> NDArray[np.float64]:
    quantiles: NDArray[np.float64] = np.maximum.accumulate(to_log(watts), axis=1)
    return quantiles
