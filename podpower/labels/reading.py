"""Samples of an export, piece by piece: the next pieces are fetched while one is used, and every sample once."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import polars as pl

from podpower.labels.counters import ENDED_AFTER_S
from podpower.labels.parts import FEW_SERIES
from podpower.labels.pieces import LabelRequest, Piece
from podpower.sources.protocols import MetricSamples, MetricSource, Selector

# Pieces: the server works on one while the answer with the other is read. Of many series, one takes memory enough.
_AHEAD = 2

Wanted = tuple[list[Selector], float, float]


class Reading:
    """Pieces of an export with the samples of each and of its margins, which are kept and not fetched again.

    Fetching begins at once; `announce` is called with each piece before it is fetched.
    """

    def __init__(
        self,
        source: MetricSource,
        selectors: list[Selector],
        request: LabelRequest,
        *,
        announce: Callable[[Piece], None],
    ) -> None:
        self._selectors, self._request, self._announce = selectors, request, announce
        self._margin_s = ENDED_AFTER_S + request.step_seconds
        self._known = deque[tuple[Piece, float]]()  # pieces that are not used yet, and the seconds that are fetched
        self._samples_per_s: float | None = None
        self._fetched = prefetched(source, self._wanted())

    def __iter__(self) -> Iterator[tuple[Piece, MetricSamples]]:
        """Yield each piece and its samples, once."""
        kept = None
        for new in self._fetched:
            (piece, length_s), whole = self._known.popleft(), new if kept is None else joined(kept, new)
            self._samples_per_s = len(new.points) / length_s
            kept = since(whole, self._known[0][0].start_s - self._margin_s) if self._known else None
            only = [(piece, whole)]
            del new, whole  # only the caller holds them
            yield only.pop()

    def _wanted(self) -> Iterator[Wanted]:
        pieces, begin_s = self._request.pieces(), self._request.start_s - self._margin_s
        piece = next(pieces)
        while True:
            self._announce(piece)
            end_s = piece.end_s + self._margin_s
            self._known.append((piece, end_s - begin_s))
            yield self._selectors, begin_s, end_s
            if piece.is_last:
                return
            begin_s, piece = end_s + 1e-3, pieces.send(self._samples_per_s)


def prefetched(source: MetricSource, wanted: Iterator[Wanted]) -> Iterator[MetricSamples]:
    """Return the samples of each selection and range in order. Fetching begins at once, and goes on while they are
    used.
    """
    pool = ThreadPoolExecutor(max_workers=_AHEAD)

    def fetch(one: Wanted) -> "Future[MetricSamples]":
        selectors, start_s, end_s = one
        return pool.submit(source.samples, selectors, start_s=start_s, end_s=end_s)

    coming = deque(map(fetch, islice(wanted, _AHEAD)))

    def used() -> Iterator[MetricSamples]:
        with pool:
            while coming:
                here = [coming.popleft().result()]
                ahead = _AHEAD if len(here[0].series) <= FEW_SERIES else 1
                coming.extend(map(fetch, islice(wanted, max(ahead - len(coming), 0))))
                yield here.pop()  # only the caller holds it

    return used()


def joined(first: MetricSamples, second: MetricSamples) -> MetricSamples:
    """Return samples of two ranges as one."""
    # Rows of the second where it has them: the texts of the first, which hold those of ranges before it, are let go.
    only_first = first.series.join(second.series, on="series_id", how="anti")
    series = pl.concat([second.series, only_first]) if len(only_first) else second.series
    return MetricSamples(
        series=series,
        points=pl.concat([first.points, second.points]),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        partial_ranges=(*first.partial_ranges, *second.partial_ranges),
        label_names={**first.label_names, **second.label_names},
    )


def since(samples: MetricSamples, ts: float) -> MetricSamples:
    """Return the samples at `ts` and later."""
    return _of_points(samples, samples.points.filter(pl.col("ts") >= ts), since_s=ts)


def since_or_last(samples: MetricSamples, ts: float, *, at_least: float) -> MetricSamples:
    """Return the samples at `ts` and later, and the last one of each series that has any after `at_least`."""
    last = pl.col("ts") == pl.col("ts").max().over("series_id")
    kept = (pl.col("ts") >= ts) | (last & (pl.col("ts") >= at_least))
    return _of_points(samples, samples.points.filter(kept & pl.col("value").is_finite()), since_s=ts)


def _of_points(samples: MetricSamples, points: pl.DataFrame, *, since_s: float) -> MetricSamples:
    ids = points.select("series_id").unique()
    series = samples.series.join(ids, on="series_id", how="semi") if len(ids) < len(samples.series) else samples.series
    ranges = tuple(part for part in samples.partial_ranges if part[1] > since_s)
    return MetricSamples(series=series, points=points, partial_ranges=ranges, label_names=samples.label_names)
