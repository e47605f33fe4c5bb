"""Counter samples into joules a step: the increase of each series, never of a sum.

A counter is read at the edges of a step by linear interpolation between the samples on both sides. That is done only
where those are near: where they are more than a few scrapes apart, or the counter began anew between them, or there is
none on one side, the step is not known. Increases between samples inside a step need no interpolation and are exact.

Samples of all series lie in flat arrays, one series after another, so that every edge is found by one binary search.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.labels import reasons

TS, ENERGY, REASON = "ts", "energy_step_j", "reason"
# A series without samples for this long has ended; what comes later begins anew. Prometheus' own lookback.
ENDED_AFTER_S = 300.0
_NEAR_SCRAPES = 2.5  # one missed scrape is bridged, two are not
_STARTS, _ENDS = "starts", "ends"

# How a counter is known at an edge, and why a step is not: places in _REASONS.
_KNOWN, _AT_START, _AT_END, _AT_GAP, _AT_RESET, _SHORT = range(6)
_REASONS = pl.Series([None, _STARTS, _ENDS, reasons.GAP, reasons.COUNTER_RESET, reasons.SHORT_LIVED], dtype=pl.String)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]


def clean(points: pl.DataFrame) -> pl.DataFrame:
    """Samples in order of series and time, finite and not negative; of several at one time the largest.

    `points`: `series`, `ts`, `value`. NaN is Prometheus' staleness marker, no measurement.
    """
    value = pl.col("value")
    ordered = points.filter(value.is_finite() & (value >= 0)).sort("series", TS)
    next_is_alike = (pl.col("series") == pl.col("series").shift(-1)) & (pl.col(TS) == pl.col(TS).shift(-1))
    if not ordered.select(next_is_alike.any()).item():
        return ordered
    return ordered.sort("series", TS, "value").filter(~next_is_alike.fill_null(value=False))


def scrape_interval_s(points: pl.DataFrame) -> float:
    """The usual time between a series' samples (cleaned), in seconds; 0 where no series has two."""
    series, ts = points["series"].to_numpy(), points[TS].to_numpy()
    gaps = np.diff(ts)[series[1:] == series[:-1]]
    return float(np.median(gaps)) if len(gaps) else 0.0


def step_energy(points: pl.DataFrame, *, start_s: float, steps: int, step_seconds: float) -> pl.DataFrame:
    """Joules of each series in each step it lived in: `series`, `ts` (end of step), `energy_step_j`, `reason`.

    `points` are cleaned, and reach at least ENDED_AFTER_S beyond the range where there are samples there.
    `reason` is null where the energy is known; "starts" and "ends" tell a series that did not live all of the step.
    """
    lives = _lives(points)
    life, edge = _edges(lives, start_s=start_s, steps=steps, step_seconds=step_seconds)
    near_s = _NEAR_SCRAPES * scrape_interval_s(points)
    at_s = start_s + edge.astype(np.float64) * step_seconds
    state, value, resets = _at_edges(lives, life, at_s, near_s=near_s)
    # A step lies between two edges of one life, of which it has the later.
    step = np.flatnonzero((life[1:] == life[:-1]) & ~_outside(state[:-1], state[1:])) + 1
    reason = _reason(state[step - 1], state[step], resets[step] > resets[step - 1])
    energy = np.where(reason == _KNOWN, value[step] - value[step - 1], np.nan)
    return pl.DataFrame(
        {
            "series": points["series"].gather(lives.first[life[step]]),
            TS: at_s[step],
            ENERGY: pl.Series(energy, nan_to_null=True),
            REASON: _REASONS.gather(reason.astype(np.uint32)),
        }
    )


@dataclass(frozen=True, kw_only=True)
class _Lives:
    """Samples by life, a stretch of a series without an end: `first` and `last` are places of a life's samples, and
    `resets` counts those before each sample. Only differences within a life mean anything.
    """

    ts: Floats
    value: Floats
    resets: Ints
    first: Ints
    last: Ints


def _lives(points: pl.DataFrame) -> _Lives:
    series, ts, value = (points[name].to_numpy() for name in ("series", TS, "value"))
    begins = np.ones(len(ts), dtype=bool)
    begins[1:] = (series[1:] != series[:-1]) | (np.diff(ts) > ENDED_AFTER_S)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(ts))[: len(first)] - 1
    reset = np.zeros(len(ts), dtype=bool)
    reset[1:] = np.diff(value) < 0
    return _Lives(ts=ts, value=value, resets=np.cumsum(reset & ~begins), first=first, last=last)


def _edges(lives: _Lives, *, start_s: float, steps: int, step_seconds: float) -> tuple[Ints, Ints]:
    """Life and number (0 to `steps`) of each edge of the steps that a life touches, life after life."""
    low = np.floor((lives.ts[lives.first] - start_s) / step_seconds).clip(0, steps).astype(np.int64)
    high = np.ceil((lives.ts[lives.last] - start_s) / step_seconds).clip(0, steps).astype(np.int64)
    touching = np.flatnonzero(high > low)
    counts = (high - low + 1)[touching]
    life = np.repeat(touching, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return life, low[life] + within


def _at_edges(lives: _Lives, life: Ints, ts: Floats, *, near_s: float) -> tuple[Codes, Floats, Ints]:
    """How the counter is known at each edge, what it shows there, and the resets before it."""
    if not len(ts):
        return np.zeros(0, np.int8), np.zeros(0), np.zeros(0, np.int64)
    begin_s = min(float(lives.ts.min()), float(ts.min()))
    span_s = max(float(lives.ts.max()), float(ts.max())) - begin_s + 1.0
    # Times of one life after those of another: all in one order.
    of_sample = np.repeat(np.arange(len(lives.first)), lives.last - lives.first + 1)
    samples = of_sample * span_s + (lives.ts - begin_s)
    edges = life * span_s + (ts - begin_s)
    before = np.searchsorted(samples, edges, side="right") - 1
    after = np.searchsorted(samples, edges, side="left")
    starts, ends = before < lives.first[life], after > lives.last[life]
    before, after = np.maximum(before, lives.first[life]), np.minimum(after, lives.last[life])
    apart = lives.ts[after] - lives.ts[before]
    share = np.divide(ts - lives.ts[before], apart, out=np.zeros_like(ts), where=apart > 0)
    value = lives.value[before] + (lives.value[after] - lives.value[before]) * share
    reset = lives.resets[after] > lives.resets[before]
    code = np.select([starts, ends, apart > near_s, reset], [_AT_START, _AT_END, _AT_GAP, _AT_RESET], _KNOWN)
    return code.astype(np.int8), value, lives.resets[before]


def _outside(begin: Codes, end: Codes) -> NDArray[np.bool_]:
    """A life that ended before the step or began after it."""
    ended, unborn = (begin == _AT_END) & (end == _AT_END), (begin == _AT_START) & (end == _AT_START)
    outside: NDArray[np.bool_] = ended | unborn
    return outside


def _reason(begin: Codes, end: Codes, reset: NDArray[np.bool_]) -> Codes:
    starts, ends = begin == _AT_START, end == _AT_END
    gap = (begin == _AT_GAP) | (end == _AT_GAP)
    broken = (begin != _KNOWN) | (end != _KNOWN) | reset
    choices = [_SHORT, _AT_START, _AT_END, _AT_GAP, _AT_RESET]
    return np.select([starts & ends, starts, ends, gap, broken], choices, _KNOWN).astype(np.int8)


def pod_energy(per_series: pl.DataFrame) -> pl.DataFrame:
    """Series of a pod added up: `namespace`, `pod`, `ts`, `energy_step_j`, `reason`; null where any part is unknown.

    `per_series` is `step_energy` with `namespace` and `pod`.
    """
    has = {r: (pl.col(REASON) == r).fill_null(value=False).any() for r in (reasons.GAP, reasons.COUNTER_RESET)}
    starts, ends = ((pl.col(REASON) == r).fill_null(value=False) for r in (_STARTS, _ENDS))
    whole = ~(starts | ends | (pl.col(REASON) == reasons.SHORT_LIVED).fill_null(value=False))
    reason = (
        pl.when(has[reasons.COUNTER_RESET])
        .then(pl.lit(reasons.COUNTER_RESET))
        .when(has[reasons.GAP])
        .then(pl.lit(reasons.GAP))
        .when(whole.all())
        .then(None)
        .when(whole.any() | (starts.any() & ends.any()))
        .then(pl.lit(reasons.CONTAINER_CHANGED))
        .when(starts.any())
        .then(pl.lit(reasons.FIRST_STEP))
        .when(ends.any())
        .then(pl.lit(reasons.LAST_STEP))
        .otherwise(pl.lit(reasons.SHORT_LIVED))
    )
    summed = per_series.group_by("namespace", "pod", TS).agg(pl.col(ENERGY).sum(), reason.alias(REASON))
    return summed.with_columns(pl.when(pl.col(REASON).is_null()).then(pl.col(ENERGY)).alias(ENERGY))
