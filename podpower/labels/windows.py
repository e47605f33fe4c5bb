"""Intervals into steps: joules and watts of each pod in each step, from the seconds of it that are known."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from podpower.labels import reasons
from podpower.labels.counters import ENDED_AFTER_S, TS, Bools, Codes, Floats, Ints
from podpower.labels.intervals import CHANGED, GAP, IMPLAUSIBLE, KNOWN, PARTIAL, RESET, Intervals

ENERGY, POWER, KNOWN_S, REASON = "energy_step_j", "avg_power_w", "known_s", "reason"
_WHOLE = 1.0 - 1e-9
# Places of reasons; states of intervals come first, under their own numbers.
_STARTS, _ENDS, _SHORT = PARTIAL + 1, PARTIAL + 2, PARTIAL + 3
_REASONS = pl.Series(
    [
        None, reasons.GAP, reasons.CONTAINER_CHANGED, reasons.COUNTER_RESET, reasons.IMPLAUSIBLE,
        reasons.PARTIAL_ANSWER, reasons.FIRST_STEP, reasons.LAST_STEP, reasons.SHORT_LIVED,
    ],
    dtype=pl.String,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Parts of intervals by step: `cell` counts steps of pods, `share` is the part of the interval's length."""

    interval: Ints
    cell: Ints
    seconds: Floats
    share: Floats
    inside: Bools  # the interval has no other part


def steps_of(intervals: Intervals, *, start_s: float, steps: int, step_seconds: float) -> pl.DataFrame:
    """Return each step that a pod touches: `namespace`, `pod`, `ts` (end of step), ENERGY, POWER, KNOWN_S, REASON.

    ENERGY is null unless all of the step is known; POWER is the mean over KNOWN_S seconds, null where those are 0.
    """
    cells = len(intervals.pods) * steps
    lives = intervals.follows & (np.append(np.diff(intervals.ts), 0.0) <= ENDED_AFTER_S)
    parts = _parts(intervals, lives, start_s=start_s, steps=steps, step_seconds=step_seconds)
    state = intervals.state[parts.interval]
    counts = (state == KNOWN) | ((state == GAP) & parts.inside)
    energy = intervals.grown_j[parts.interval] + intervals.first_j[parts.interval + 1]
    joules = np.bincount(parts.cell, weights=np.where(counts, energy * parts.share, 0.0), minlength=cells)
    known_s = np.bincount(parts.cell, weights=np.where(counts, parts.seconds, 0.0), minlength=cells)
    starts, ends = _ends(intervals, lives, start_s=start_s, steps=steps, step_seconds=step_seconds)
    touched = (np.bincount(parts.cell, minlength=cells) > 0) | starts | ends
    reason = _reason(parts.cell[~counts], state[~counts], starts, ends)
    whole = known_s >= step_seconds * _WHOLE
    cell = np.flatnonzero(touched)
    known_s, whole = np.where(whole, step_seconds, np.round(known_s, 6))[cell], whole[cell]
    names = intervals.pods[(cell // steps).astype(np.uint32)]
    power = np.divide(joules[cell], known_s, out=np.full(len(cell), np.nan), where=known_s > 0)
    return names.with_columns(
        pl.Series(TS, start_s + (cell % steps + 1) * step_seconds),
        pl.Series(ENERGY, np.where(whole, joules[cell], np.nan), nan_to_null=True),
        pl.Series(POWER, power, nan_to_null=True),
        pl.Series(KNOWN_S, known_s),
        _REASONS.gather(np.where(whole, 0, reason[cell]).astype(np.uint32)).alias(REASON),
    )


def _parts(intervals: Intervals, lives: Bools, *, start_s: float, steps: int, step_seconds: float) -> _Parts:
    begin, finish = (intervals.ts - start_s) / step_seconds, np.append(intervals.ts[1:], 0.0) - start_s
    finish = finish / step_seconds
    wanted = np.flatnonzero(lives & (finish > 0) & (begin < steps))
    begin, finish = begin[wanted], finish[wanted]
    low = np.floor(np.maximum(begin, 0.0)).astype(np.int64)
    high = np.ceil(np.minimum(finish, steps)).astype(np.int64)
    count = high - low
    which = np.repeat(np.arange(len(wanted)), count)
    step = low[which] + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    length = np.minimum(finish[which], step + 1.0) - np.maximum(begin[which], step)
    return _Parts(
        interval=wanted[which],
        cell=intervals.pod[wanted][which] * steps + step,
        seconds=length * step_seconds,
        share=length / (finish - begin)[which],
        inside=(np.ceil(finish) - np.floor(begin) <= 1)[which],
    )


def _ends(
    intervals: Intervals, lives: Bools, *, start_s: float, steps: int, step_seconds: float
) -> tuple[Bools, Bools]:
    """Return the steps in which a life begins, and in which one ends; the edge of a step counts as neither."""
    place = (intervals.ts - start_s) / step_seconds
    off_edge = (np.abs(place - np.round(place)) * step_seconds > 1e-6) & (place > 0) & (place < steps)
    begins = np.ones(len(lives), dtype=bool)
    begins[1:] = ~lives[:-1]
    found = []
    for chosen in (begins & off_edge, ~lives & off_edge):
        marked = np.zeros(len(intervals.pods) * steps, dtype=bool)
        marked[intervals.pod[chosen] * steps + np.floor(place[chosen]).astype(np.int64)] = True
        found.append(marked)
    return found[0], found[1]


def _reason(cell: Ints, state: Codes, starts: Bools, ends: Bools) -> Codes:
    """Return the worst state of a step's parts, else which end of a life it contains."""
    reason = np.zeros(len(starts), dtype=np.int8)
    reason[starts], reason[ends], reason[starts & ends] = _STARTS, _ENDS, _SHORT
    for worse in (GAP, CHANGED, RESET, IMPLAUSIBLE, PARTIAL):
        reason[cell[state == worse]] = worse
    return reason
