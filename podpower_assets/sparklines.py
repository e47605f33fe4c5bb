"""Small plots as text, which the Dagster UI shows without a click: ▁▂▅▇ 0.2 W to 162 W."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS, _BINS = 30, 12


def over_time(values: Sequence[float | None], *, unit: str) -> str:
    """Return a bar for each value, or for each mean of neighbours, and their range; a space where it is not known.

    >>> over_time([10.0, 20.0, None, 80.0], unit="W")
    '▁▂ █ 10 W to 80 W'
    """
    known = np.array([np.nan if value is None else value for value in values], dtype=float)
    if not np.isfinite(known).any():
        return "none known"
    means = np.array([_mean(part) for part in np.array_split(known, min(len(known), _MOST_BARS))])
    return f"{_bars(means)} {_range(known, unit)}"


def distribution(values: ArrayLike, *, unit: str) -> str:
    """Return a histogram of the values above zero over the logarithm, and their range.

    >>> distribution([1, 1, 1, 10, 100], unit="J")
    '█▁▁▁▁▁▃▁▁▁▁▃ 1 J to 100 J'
    """
    every = np.asarray(values, dtype=float)
    positive = every[np.isfinite(every) & (every > 0)]
    if not len(positive):
        return "none above 0"
    heights, _ = np.histogram(np.log10(positive), bins=_BINS)
    return f"{_bars(heights.astype(float))} {_range(positive, unit)}"


def _bars(heights: NDArray[np.float64]) -> str:
    """Return bars from zero to the largest height. No-break spaces are kept by browsers."""
    largest = np.nanmax(heights)
    levels = np.zeros(len(heights)) if largest <= 0 else np.clip(heights, 0, None) / largest * (len(_BARS) - 1)
    return "".join("\N{NO-BREAK SPACE}" if np.isnan(level) else _BARS[round(float(level))] for level in levels)


def _mean(part: NDArray[np.float64]) -> float:
    known = part[np.isfinite(part)]
    return float(known.mean()) if len(known) else float("nan")


def _range(values: NDArray[np.float64], unit: str) -> str:
    low, high = (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" for value in _extremes(values))
    return f"{low} {unit} to {high} {unit}"


def _extremes(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))
