"""Coordinates of plots: intervals on one logarithmic scale, and watts over hours. Numbers only; templates draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from podpower.fleet.summary import Gap, Series
from podpower.hours import HOUR_S
from podpower.impact import units

WIDTH: Final = 200.0  # of an interval, in units of the drawing
_LEAST_W: Final = 1e-3
_MOST_TICKS: Final = 5
_MOST_STEPS: Final = 3  # between the marks of a scale of intervals
# Tops of an axis, times a power of ten; with its half, each mark has at most three digits.
_TOPS: Final = (1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Places of both ends of an interval and of the value, from 0 to WIDTH."""

    low: float
    high: float
    at: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Logarithmic scale of watts that all intervals of a page share."""

    low_w: float
    high_w: float

    def place(self, watts: float) -> float:
        """Return the place of watts, from 0 to WIDTH.

        >>> Scale(low_w=0.1, high_w=10.0).place(1.0)
        100.0
        """
        share = math.log(max(watts, self.low_w) / self.low_w) / math.log(self.high_w / self.low_w)
        return round(WIDTH * min(1.0, share), 1)

    def bar(self, interval_w: Sequence[float], watts: float) -> Bar:
        """Return an interval with its value."""
        return Bar(low=self.place(interval_w[0]), high=self.place(interval_w[1]), at=self.place(watts))


def scale_of(intervals_w: Sequence[Sequence[float]]) -> Scale:
    """Return the scale, of whole decades, on which these intervals lie."""
    ends = [end for interval in intervals_w for end in interval]
    low = max(_LEAST_W, min(ends, default=_LEAST_W))
    high = max(low * 2, max(ends, default=1.0))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return Scale(low_w=10.0**first, high_w=10.0**last)


def ticks_of(scale: Scale) -> list[str]:
    """Return the texts of the marks of a scale: whole decades at equal distances, the ends included.

    >>> ticks_of(Scale(low_w=0.01, high_w=10.0)), ticks_of(Scale(low_w=0.01, high_w=1000.0))
    (['10 mW', '100 mW', '1 W', '10 W'], ['10 mW', '1 kW'])
    """
    decades = round(math.log10(scale.high_w / scale.low_w))
    step = next(step for step in range(1, decades + 1) if decades % step == 0 and decades // step <= _MOST_STEPS)
    return [units.watts(scale.low_w * 10.0**decade) for decade in range(0, decades + 1, step)]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark of an axis, with its text."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Paths of measured and predicted watts over hours in a drawing of `width` x `height`, with its axes and gaps.

    `summary` describes it in words, for those who do not see it.
    """

    width: float
    height: float
    measured: str
    predicted: str
    gaps: list[tuple[float, float]]
    watts: list[Tick]
    times: list[str]
    summary: str


def lines_of(
    series: Series, *, start_s: float, end_s: float, width: float, height: float, gaps: Sequence[Gap] = ()
) -> Lines | None:
    """Return the plot of a series over the time of the summary; None without any known hour."""
    known = [w for w in (*series.measured_w, *series.predicted_w) if w is not None]
    if not known or end_s <= start_s:
        return None
    top = _round_up(max(known))

    def x_of(ts: float) -> float:
        return round(width * min(1.0, max(0.0, (ts - start_s) / (end_s - start_s))), 1)

    def path(values: Sequence[float | None]) -> str:
        parts, drawing = [], False
        for hour, value in enumerate(values):
            if value is None:
                drawing = False
                continue
            ts = series.start_s + hour * HOUR_S
            y = round(height * (1.0 - max(0.0, value) / top), 1)
            # An hour is a step as wide as it lasts: a single one can be seen, too.
            parts.append(f"{'L' if drawing else 'M'}{x_of(ts):g},{y:g}H{x_of(ts + HOUR_S):g}")
            drawing = True
        return "".join(parts)

    return Lines(
        width=width,
        height=height,
        measured=path(series.measured_w),
        predicted=path(series.predicted_w),
        gaps=[(x_of(gap.start_s), max(1.0, round(x_of(gap.end_s) - x_of(gap.start_s), 1))) for gap in gaps],
        watts=[Tick(place=round(height * (1 - share), 1), text=units.watts(top * share)) for share in (0.0, 0.5, 1.0)],
        times=_times(start_s, end_s),
        summary=_in_words(series),
    )


def _in_words(series: Series) -> str:
    parts = []
    for name, values in (("measured", series.measured_w), ("predicted", series.predicted_w)):
        known = [w for w in values if w is not None]
        if known:
            mean = units.watts(sum(known) / len(known))
            parts.append(f"{name} {units.watts(min(known))} to {units.watts(max(known))}, mean {mean}")
    return "; ".join(parts)


def _round_up(value: float) -> float:
    """Return a round number of at least this value.

    >>> _round_up(850.0), _round_up(0.0)
    (1000.0, 1.0)
    """
    if value <= 0:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return next(top * decade for top in _TOPS if value <= top * decade * (1 + 1e-9))


def _times(start_s: float, end_s: float) -> list[str]:
    """Return the texts of marks at equal distances, both ends included."""
    length = end_s - start_s
    shown = "%d %b" if length > 2 * 86_400 else "%H:%M"
    shares = [place / (_MOST_TICKS - 1) for place in range(_MOST_TICKS)]
    return [datetime.fromtimestamp(start_s + share * length, UTC).strftime(shown) for share in shares]
