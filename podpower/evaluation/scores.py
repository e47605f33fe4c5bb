"""Errors of predictions, in watts and in logs."""

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

_LEAST = 5  # pods; of fewer, R2 and rank correlation are chance


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Errors over `count` pods. None where undefined (fewer than five pods, no variance, all labels zero, no interval).

    `mae` in the report's unit; `wape` the sum of absolute errors over the sum of labels; `mdape` the median of relative
    errors of the labels above zero; `log_r2` R2 of log(1 + joules a minute) (jobs: of log(1 + joules)); `total_ratio`
    the sum of expected values over the sum of labels; `coverage` the share of labels inside their 80 % interval, each
    workload counted once, `coverages` that of each level, `interval_factor` the median of the 80 % interval's high over
    its low.
    """

    count: int
    mae: float | None = None
    wape: float | None = None
    mdape: float | None = None
    r2: float | None = None
    log_r2: float | None = None
    rank_correlation: float | None = None
    total_ratio: float | None = None
    coverage: float | None = None
    interval_factor: float | None = None
    coverages: dict[str, float] = {}


def score(
    measured: NDArray[np.float64],
    predicted: NDArray[np.float64],
    floor: float,
    bounds: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None,
    weights: NDArray[np.float64] | None = None,
    *,
    expected: NDArray[np.float64] | None = None,
    level: float = 0.8,
) -> Score:
    """Return errors of predictions (n,) against labels (n,); NaN predictions are unknown and not counted.

    `floor` is added before logarithms; `expected` (n,) are the means that sums are made of (None: the predictions);
    `bounds` are low and high ends (n,) by level, whose coverage counts labels by `weights` (n,).
    """
    known = ~np.isnan(predicted)
    expected = predicted[known] if expected is None else expected[known]
    measured, predicted = measured[known], predicted[known]
    if not len(measured):
        return Score(count=0)
    positive = measured > 0
    varied = len(measured) >= _LEAST and np.ptp(measured) > 0
    coverages: dict[str, float] = {}
    factor = None
    for of_level, ends in (bounds or {}).items():
        low, high = ends[0][known], ends[1][known]
        if np.isnan(low).any():
            continue
        inside = (low <= measured) & (measured <= high)
        coverages[f"{of_level:g}"] = float(np.average(inside, weights=None if weights is None else weights[known]))
        if of_level == level:
            factor = float(np.median((high + floor) / (low + floor)))
    error = np.abs(predicted - measured)
    return Score(
        count=len(measured),
        mae=float(error.mean()),
        wape=float(error.sum() / measured.sum()) if positive.any() else None,
        mdape=float(np.median(error[positive] / measured[positive])) if positive.any() else None,
        r2=_r2(measured, predicted) if varied else None,
        log_r2=_r2(np.log(measured + floor), np.log(predicted + floor)) if varied else None,
        rank_correlation=_rank_correlation(measured, predicted) if varied and np.ptp(predicted) > 0 else None,
        total_ratio=float(expected.sum() / measured.sum()) if positive.any() else None,
        coverage=coverages.get(f"{level:g}"),
        interval_factor=factor,
        coverages=coverages,
    )


def _r2(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Return the coefficient of determination: one minus squared errors over squared deviations from the mean."""
    return 1.0 - float(np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2))


def _rank_correlation(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(pl.select(pl.corr(pl.Series(measured), pl.Series(predicted), method="spearman")).item())
