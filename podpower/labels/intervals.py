"""Energy of pods between neighbouring scrapes: the increase of each series, then the sum of a pod's series.

An interval is known where every series of the pod has a sample at both ends and no counter began anew. A counter that
begins with its container while its exporter is scraped adds its first value. Everything else is lost, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from podpower.labels.clock import CLOCK_SCHEMA
from podpower.labels.counters import TS, Bools, Codes, Floats, Ints, Samples, most_energy_j

_NEAR_SCRAPES = 2.5  # one missed scrape is bridged, two are a gap
_FASTER = 3.0  # a counter that began anew cannot grow this much faster than before
_EVER_MS = 1 << 42  # above every range in milliseconds
# States of an interval, the worse the greater. Of a gap all energy is known, but not when it was drawn.
KNOWN, GAP, CHANGED, RESET, IMPLAUSIBLE, PARTIAL = range(6)

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Scrapes of pods in parallel arrays, by pod and time; each describes the interval to the next one of its pod.

    `grown_j` is the measured increase of the series that go on and `first_j` what the counters that began with their
    containers show at a scrape; `history` marks a scrape where another counter appeared, whose value is older.
    `since_s` is the time since the exporter's scrape before, `bridged` marks an interval that some series spans.
    """

    pods: pl.DataFrame
    pod: Ints
    ts: Floats
    pod_id: Ints  # code of its pod_id in `pod_ids`
    pod_ids: list[str]
    follows: Bools
    state: Codes
    bridged: Bools
    grown_j: Floats
    first_j: Floats
    history: Bools
    since_s: Floats


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Scrapes of pods; `of_sample` is the scrape of each sample, `exporter_scrape` a code of exporter and time."""

    pod: Ints
    ts: Floats
    source: Ints
    of_sample: Ints
    exporter_scrape: Ints
    since_s: Floats
    near_s: Floats
    restarts: Ints  # of the exporter so far, by its node's counters
    fell: Bools  # one since the scrape before
    judged: Bools  # the node's counters show restarts

    @property
    def follows(self) -> Bools:
        follows = np.zeros(len(self.pod), dtype=bool)
        follows[:-1] = self.pod[1:] == self.pod[:-1]
        return follows


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Neighbouring samples of a series, as positions of the earlier one, and the energy between them."""

    first: Ints
    gain_j: Floats
    reset: Bools
    restarted: Bools  # with its exporter
    implausible: Bools


def intervals_of(samples: Samples, *, partial: Sequence[Range] = (), clock: pl.DataFrame | None = None) -> Intervals:
    """Return the intervals of all pods. Those that overlap a range of `partial` are not known.

    `clock` (`exporter_clock`) holds scrapes and restarts of exporters that the samples of pods do not show.
    """
    grid = _grid(samples, clock)
    pairs = _pairs(samples, grid)
    return _summed(samples, grid, pairs, partial)


def _grid(samples: Samples, clock: pl.DataFrame | None) -> _Grid:
    key = samples.pod_of[samples.series] * samples.span + samples.ms
    first, of_sample = _distinct(key)
    series = samples.series[first]
    exporter, ts = samples.exporter_of[series], samples.ts[first]
    scrapes = _scrapes(
        exporter, samples.ms[first], samples, pl.DataFrame(schema=CLOCK_SCHEMA) if clock is None else clock
    )
    at = scrapes.of_pod
    return _Grid(
        pod=samples.pod_of[series],
        ts=ts,
        source=samples.source_of[series],
        of_sample=of_sample,
        exporter_scrape=at,
        since_s=scrapes.since_s[at],
        near_s=_NEAR_SCRAPES * scrapes.usual_s[exporter],
        restarts=np.cumsum(scrapes.fell, dtype=np.int64)[at],
        fell=scrapes.fell[at],
        judged=scrapes.judged[at],
    )


def _distinct(key: Ints) -> tuple[Ints, Ints]:
    """Return where each key stands first, in the order of keys, and the number of the key at each position: what
    `numpy.unique` returns, sooner where keys come in ordered runs.
    """
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    begins = np.ones(len(key), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    number = np.empty(len(key), dtype=np.int64)
    number[order] = np.cumsum(begins) - 1
    return order[begins], number


@dataclass(frozen=True, kw_only=True)
class _Scrapes:
    """Scrapes of exporters: seconds since the one before (infinite: none), and what the node's counters show of a
    restart. `of_pod` is the number of each scrape of a pod, `usual_s` the usual time between scrapes by exporter.
    """

    of_pod: Ints
    since_s: Floats
    fell: Bools
    judged: Bools
    usual_s: Floats


def _scrapes(exporter: Ints, ms: Ints, samples: Samples, clock: pl.DataFrame) -> _Scrapes:
    more = np.round(clock[TS].to_numpy() * 1000.0).astype(np.int64) - samples.begin_ms
    origin = min(0, int(more.min())) if len(more) else 0
    of_pods = exporter * _EVER_MS + ms - origin
    of_clock = clock["exporter"].to_numpy() * _EVER_MS + more - origin
    scrapes = np.unique(np.concatenate([of_pods, of_clock]))
    owner = scrapes // _EVER_MS
    since_s = np.full(len(scrapes), np.inf)
    same = owner[1:] == owner[:-1]
    since_s[1:][same] = np.diff(scrapes)[same] / 1000.0
    # Two Prometheus that scrape one exporter take turns: the usual time is the longer of both.
    usual = (
        pl.DataFrame({"owner": owner[1:][same], "gap": since_s[1:][same]})
        .group_by("owner")
        .agg(pl.col("gap").quantile(0.75, "higher"))
    )
    usual_s = np.zeros(int(owner.max()) + 1 if len(owner) else 0)
    usual_s[usual["owner"].to_numpy()] = usual["gap"].to_numpy()
    fell, judged = np.zeros(len(scrapes), dtype=bool), np.zeros(len(scrapes), dtype=bool)
    at = np.searchsorted(scrapes, of_clock)
    fell[at], judged[at] = clock["fell"].to_numpy(), clock["judged"].to_numpy()
    of_pod = np.searchsorted(scrapes, of_pods).astype(np.int64)
    return _Scrapes(of_pod=of_pod, since_s=since_s, fell=fell, judged=judged, usual_s=usual_s)


def _pairs(samples: Samples, grid: _Grid) -> _Pairs:
    first = np.flatnonzero(samples.series[1:] == samples.series[:-1])
    rise, limit_j = np.diff(samples.value)[first], most_energy_j(np.diff(samples.ts)[first])
    fell = rise < 0
    # A counter that fell back from a value that no node can have reached did not begin anew.
    jumped = rise > limit_j
    fell_back = np.zeros(len(first), dtype=bool)
    fell_back[1:] = fell[1:] & jumped[:-1] & (first[1:] == first[:-1] + 1)
    odd = jumped | fell_back
    start, end = grid.of_sample[first], grid.of_sample[first + 1]
    inferred = _restarted(samples, grid, first, fell & ~odd, ~odd) & ~grid.judged[end]
    restarted = ~odd & (inferred | (grid.restarts[end] > grid.restarts[start]))
    reset = fell | restarted
    gain = np.where(reset, 0.0, rise)
    gain[reset] = samples.value[first[reset] + 1]
    implausible = fell_back | (gain > limit_j)
    gain[implausible] = 0.0
    return _Pairs(first=first, gain_j=gain, reset=reset, restarted=restarted, implausible=implausible)


def _restarted(samples: Samples, grid: _Grid, first: Ints, fell: Bools, counts: Bools) -> Bools:
    """Return pairs during which the exporter restarted, by the counters of pods: most of what they had counted is gone.

    A restart resets every counter of a node at once, also those that have passed their old value since. A counter that
    went on from a value it cannot have reached anew shows that there was none.
    """
    if not fell.any():
        return fell
    before, length_s = samples.value[first], samples.ts[first + 1] - samples.ts[first]
    rise = samples.value[first + 1] - before
    follows = np.zeros(len(first), dtype=bool)
    follows[1:] = (first[1:] == first[:-1] + 1) & (rise[:-1] >= 0)
    usual_j = np.zeros(len(first))
    usual_j[1:] = rise[:-1] / length_s[:-1] * length_s[1:]
    went_on = counts & ~fell & follows & (before > _FASTER * usual_j)
    scrape = grid.exporter_scrape[grid.of_sample[first + 1]]
    gone = np.bincount(scrape, weights=before * fell)
    had = np.bincount(scrape, weights=before * counts)
    against = np.bincount(scrape, weights=went_on)
    restarted: Bools = ((gone > 0.5 * had) & (gone > 0) & (against == 0))[scrape]
    return restarted & counts


def _summed(samples: Samples, grid: _Grid, pairs: _Pairs, partial: Sequence[Range]) -> Intervals:
    """Return the intervals of pods as sums over their series: increases, first values of new counters, and states."""
    start, end = grid.of_sample[pairs.first], grid.of_sample[pairs.first + 1]
    torn = _torn(grid, start, end)
    spread = _spread(grid, pairs, start, end, torn)
    begins = np.ones(len(samples.ts), dtype=bool)
    begins[1:] = samples.series[1:] != samples.series[:-1]
    begins[pairs.first[torn] + 1] = True
    first_j, history = _first_values(samples, grid, pairs, begins, end)
    ids = {name: number for number, name in enumerate(dict.fromkeys(samples.pod_ids))}
    of_source = np.array([ids[name] for name in samples.pod_ids], dtype=np.int64)
    size = len(grid.ts)
    return Intervals(
        pods=samples.pods,
        pod=grid.pod,
        ts=grid.ts,
        pod_id=of_source[grid.source],
        pod_ids=list(ids),
        follows=grid.follows,
        state=_states(grid, spread, begins, history, partial),
        bridged=np.bincount(spread.at, minlength=size) > 0,
        grown_j=np.bincount(spread.at, weights=spread.gain_j, minlength=size).astype(np.float64),
        first_j=first_j,
        history=history,
        since_s=grid.since_s,
    )


def _torn(grid: _Grid, start: Ints, end: Ints) -> Bools:
    """Return pairs between which samples of another source lie: the series ended there and began anew."""
    turned = grid.source[1:] != grid.source[:-1]
    if not (turned & grid.follows[:-1]).any():
        return np.zeros(len(start), dtype=bool)
    turns = np.zeros(len(grid.ts), dtype=np.int64)
    turns[1:] = np.cumsum(turned)
    torn: Bools = (turns[start] != turns[end]) & (grid.source[start] == grid.source[end])
    return torn


def _first_values(samples: Samples, grid: _Grid, pairs: _Pairs, begins: Bools, end: Ints) -> tuple[Floats, Bools]:
    """Return `first_j` and `history` of Intervals. The first value of a counter is the energy of its container where
    its exporter was scraped shortly before, did not restart since, and the value is plausible; else it is older.
    """
    size = len(grid.ts)
    restarted = grid.fell | _of_exporter(grid, np.bincount(end[pairs.restarted], minlength=size) > 0)
    at, value = grid.of_sample[begins], samples.value[begins]
    is_new = (grid.since_s <= grid.near_s)[at] & ~restarted[at] & (value <= most_energy_j(grid.since_s)[at])
    first_j = np.bincount(at, weights=value * is_new, minlength=size).astype(np.float64)
    return first_j, np.bincount(at[~is_new], minlength=size) > 0


def _states(grid: _Grid, spread: "_Spread", begins: Bools, history: Bools, partial: Sequence[Range]) -> Codes:
    """Return the state of each interval: the worst of its series."""
    length_s = np.append(np.diff(grid.ts), 0.0)
    ends = np.ones(len(begins), dtype=bool)
    ends[:-1] = begins[1:]
    changed = np.bincount(grid.of_sample[ends], minlength=len(grid.ts)) > 0
    changed[:-1] |= history[1:]
    state = np.zeros(len(grid.ts), dtype=np.int8)
    state[grid.follows & (length_s > grid.near_s)] = GAP
    state[spread.at[spread.loose]] = GAP
    state[changed] = CHANGED
    state[spread.at[spread.reset]] = RESET
    state[spread.at[spread.implausible]] = IMPLAUSIBLE
    for begin_s, end_s in partial:
        state[(grid.ts < end_s) & (grid.ts + length_s > begin_s)] = PARTIAL
    return state


def _of_exporter(grid: _Grid, restarted: Bools) -> Bools:
    """Return scrapes of pods at which any series of their exporter was reset by a restart."""
    if not restarted.any():
        return restarted
    scrapes = np.bincount(grid.exporter_scrape[restarted], minlength=int(grid.exporter_scrape.max()) + 1) > 0
    found: Bools = scrapes[grid.exporter_scrape]
    return found


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Pairs by the intervals that they span: `at` is the interval, `loose` marks parts of a pair longer than a gap."""

    at: Ints
    gain_j: Floats
    loose: Bools
    reset: Bools
    implausible: Bools


def _spread(grid: _Grid, pairs: _Pairs, start: Ints, end: Ints, torn: Bools) -> _Spread:
    count = np.where(torn, 0, end - start)
    if (count == 1).all():
        none = np.zeros(len(start), dtype=bool)
        return _Spread(at=start, gain_j=pairs.gain_j, loose=none, reset=pairs.reset, implausible=pairs.implausible)
    pair = np.repeat(np.arange(len(start)), count)
    at = start[pair] + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    length_s = grid.ts[end] - grid.ts[start]
    share = np.divide(grid.ts[at + 1] - grid.ts[at], length_s[pair], out=np.ones(len(at)), where=length_s[pair] > 0)
    loose = (count > 1) & (length_s > grid.near_s[end])
    return _Spread(
        at=at,
        gain_j=pairs.gain_j[pair] * share,
        loose=loose[pair],
        reset=pairs.reset[pair],
        implausible=pairs.implausible[pair],
    )
