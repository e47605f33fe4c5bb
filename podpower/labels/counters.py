"""Samples of counters in flat arrays: cleaned, sorted by pod, series and time, one source of a pod at a time."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.datasets.limits import MAX_POWER_W

TS = "ts"
# A series without samples for this long has ended; what comes later begins anew. Prometheus' own lookback.
ENDED_AFTER_S = 300.0
_MS = 1000.0
_COUNTED_EVERY_S = 10.0  # Kepler adds energy to its counters at most this rarely
_NAMED = 3  # pods named in a warning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]
Bools = NDArray[np.bool_]


def most_energy_j(seconds: Floats) -> Floats:
    """Return the most energy (joules) that a plausible counter can gain in each of these times."""
    return MAX_POWER_W * np.maximum(seconds, _COUNTED_EVERY_S)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples sorted by pod, series and time; `series` is a code, and `pod_of` (row of `pods`: `namespace`, `pod`),
    `source_of` (exporter and pod_id) and `exporter_of` are by that code.

    `pod_ids` holds the pod_id of each source ("" where the generation has none). `ms` are milliseconds since
    `begin_ms`, which keys of several arrays are made of.
    """

    series: Ints
    ts: Floats
    ms: Ints
    value: Floats
    begin_ms: int
    span: int  # above every value of `ms`
    pod_of: Ints
    source_of: Ints
    exporter_of: Ints
    pods: pl.DataFrame
    pod_ids: list[str]
    names: list[int]  # of series, by code
    exporters: list[str]  # by code
    warnings: tuple[str, ...] = ()


def samples_of(points: pl.DataFrame, series: pl.DataFrame) -> Samples:
    """Return finite samples that are not negative; of several at one time the largest.

    `points`: `series_id`, `ts`, `value`. `series`: `series_id`, `series`, `namespace`, `pod`, `exporter`, `pod_id`, as
    `pod_series` returns them. NaN is Prometheus' staleness marker and measures nothing.
    """
    pods = series.select("namespace", "pod").unique().sort("namespace", "pod").with_row_index("pod_code")
    by_code = (
        series.unique("series", keep="first", maintain_order=True)
        .join(pods, on=["namespace", "pod"])
        .with_columns(
            pl.col("exporter").rank("dense").cast(pl.Int64).alias("exporter_code") - 1,
            pl.struct("exporter", "pod_id").rank("dense").cast(pl.Int64).alias("source_code") - 1,
        )
        .sort("pod_code", "series")
        .with_row_index("code")
    )
    codes = series.select("series_id", "series").join(by_code.select("series", "code"), on="series")
    value = pl.col("value")
    measured = points.select(value.is_finite() & (value >= 0)).to_series()
    found = points if measured.all() else points.filter(measured)  # most often all, and then no copy
    code = _codes(found["series_id"], codes)
    if (others := code < 0).any():
        found, code = found.filter(~others), code[~others]
    ts, values = found[TS].to_numpy(), found["value"].to_numpy()
    ms = np.round(ts * _MS).astype(np.int64)
    begin_ms = int(ms.min()) if len(ms) else 0
    ms = ms - begin_ms
    span = int(ms.max()) + 1 if len(ms) else 1
    order, values = _in_order(code * span + ms, values)
    sources = by_code.unique("source_code").sort("source_code")
    samples = Samples(
        series=code[order],
        ts=ts[order],
        ms=ms[order],
        value=values,
        begin_ms=begin_ms,
        span=span,
        pod_of=by_code["pod_code"].to_numpy().astype(np.int64),
        source_of=by_code["source_code"].to_numpy(),
        exporter_of=by_code["exporter_code"].to_numpy(),
        pods=pods.drop("pod_code"),
        pod_ids=sources["pod_id"].fill_null("").to_list(),
        names=by_code["series"].to_list(),
        exporters=by_code.unique("exporter_code").sort("exporter_code")["exporter"].to_list(),
    )
    return _one_source_at_a_time(samples)


def _codes(series_id: pl.Series, codes: pl.DataFrame) -> Ints:
    """Return the code of each series, -1 of those without. Samples come series by series, in runs of few."""
    runs = (
        series_id.rle()
        .struct.unnest()
        .join(codes, left_on="value", right_on="series_id", how="left", maintain_order="left")
    )
    return np.repeat(runs["code"].cast(pl.Int64).fill_null(-1).to_numpy(), runs["len"].to_numpy())


def _in_order(key: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Return positions in the order of `key`, each key once, and the largest value of each."""
    order = np.arange(len(key)) if (np.diff(key) > 0).all() else np.argsort(key, kind="stable")
    key, values = key[order], values[order]
    begins = np.ones(len(key), dtype=bool)
    begins[1:] = key[1:] != key[:-1]
    if begins.all():
        return order, values
    first = np.flatnonzero(begins)
    return order[first], np.maximum.reduceat(values, first)


def _one_source_at_a_time(samples: Samples) -> Samples:
    """Drop samples of a pod's older source while a newer one lasts, so that a pod counts once.

    A source is an exporter and a pod_id. Two jobs that scrape one exporter, or an ended pod that is still shown beside
    its successor, would count a pod twice.
    """
    per_source = pl.DataFrame({"pod": samples.pod_of, "source": samples.source_of}).unique()
    several = per_source.filter(pl.len().over("pod") > 1)["pod"].unique()
    if several.is_empty():
        return samples
    affected = np.isin(samples.pod_of[samples.series], several.to_numpy())
    where = np.flatnonzero(affected)
    frame = pl.DataFrame(
        {
            "row": where,
            "pod": samples.pod_of[samples.series[where]],
            "source": samples.source_of[samples.series[where]],
            TS: samples.ts[where],
            "value": samples.value[where],
        }
    )
    lives = frame.group_by("pod", "source").agg(
        pl.col(TS).min().alias("first"), pl.col(TS).max().alias("last"), pl.col("value").max().alias("most")
    )
    # The newest source wins; of two that are equally old in these samples the one that counted more.
    lives = lives.sort("pod", "first", "most", "source").with_columns(pl.int_range(pl.len()).over("pod").alias("rank"))
    pairs = lives.join(lives.select("pod", "first", "last", "rank"), on="pod", suffix="_newer")
    pairs = pairs.filter(
        (pl.col("rank") < pl.col("rank_newer"))
        & (pl.col("first_newer") <= pl.col("last"))
        & (pl.col("first") <= pl.col("last_newer"))
    )
    if pairs.is_empty():
        return samples
    dropped = frame.join(pairs.select("pod", "source", "first_newer", "last_newer"), on=["pod", "source"]).filter(
        pl.col(TS).is_between(pl.col("first_newer"), pl.col("last_newer"))
    )
    kept = np.ones(len(samples.ts), dtype=bool)
    kept[dropped["row"].to_numpy()] = False
    return _kept(samples, kept, _double_sources(samples, dropped))


def _double_sources(samples: Samples, dropped: pl.DataFrame) -> tuple[str, ...]:
    """Return a warning about pods with more than a last sample under two sources at a time."""
    counts = dropped.group_by("pod").agg(pl.col(TS).n_unique().alias("times")).filter(pl.col("times") > 2).sort("pod")
    if counts.is_empty():
        return ()
    named = samples.pods[counts["pod"].head(_NAMED).to_list()]
    shown = ", ".join(f"{namespace}/{pod}" for namespace, pod in named.iter_rows())
    return (
        f"{len(counts)} pods were measured under two values of instance or pod_id at the same time and counted once, "
        f"e.g. {shown}: is Kepler scraped by two jobs?",
    )


def _kept(samples: Samples, kept: Bools, warnings: tuple[str, ...]) -> Samples:
    return replace(
        samples,
        series=samples.series[kept],
        ts=samples.ts[kept],
        ms=samples.ms[kept],
        value=samples.value[kept],
        warnings=warnings,
    )
