"""A recording's samples as OpenMetrics text, which `promtool tsdb create-blocks-from openmetrics` makes a TSDB of."""

from collections.abc import Iterator

import polars as pl

from podpower.hours import HOUR_S
from podpower.io.files import atomic_file
from podpower.io.places import AnyPath
from podpower.sources.protocols import LABEL_COLUMNS, MetricSamples, Selector
from podpower.sources.recording import Recording


def write_openmetrics(recording: Recording, path: AnyPath) -> int:
    """Write every sample, family by family, and return how many; staleness markers are left out.

    Format: https://github.com/prometheus/OpenMetrics. Times are Unix seconds with milliseconds.
    """
    written = 0
    with atomic_file(path) as aside, aside.open("wb") as out:
        for metric in sorted(recording.metric_names(start_s=recording.start_s, end_s=recording.end_s)):
            for samples in _hours(recording, metric):
                lines = _lines(samples)
                lines.write_csv(out, include_header=False, quote_style="never")
                written += len(lines)
        out.write(b"# EOF\n")
    return written


def write_samples(samples: MetricSamples, path: AnyPath) -> None:
    """Write samples that are in memory, family by family."""
    with atomic_file(path) as aside, aside.open("wb") as out:
        for metric in samples.series["metric"].unique().sort():
            series = samples.series.filter(pl.col("metric") == metric)
            lines = _lines(MetricSamples(series=series, points=samples.points.join(series, on="series_id", how="semi")))
            lines.write_csv(out, include_header=False, quote_style="never")
        out.write(b"# EOF\n")


def _hours(recording: Recording, metric: str) -> Iterator[MetricSamples]:
    start_s = recording.start_s
    while start_s < recording.end_s:
        end_s = min(start_s + HOUR_S, recording.end_s)
        yield recording.samples([Selector(metric=metric)], start_s=start_s, end_s=end_s - 1e-3)
        start_s = end_s


def _lines(samples: MetricSamples) -> pl.DataFrame:
    def label(name: str) -> pl.Expr:
        escaped = pl.col(name).str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
        return pl.when(pl.col(name).is_not_null()).then(pl.format(name + '="{}"', escaped))

    labels = pl.concat_str([label(name) for name in LABEL_COLUMNS], separator=",", ignore_nulls=True)
    named = samples.series.select(
        "series_id", pl.concat_str("metric", pl.lit("{"), labels, pl.lit("}")).alias("series")
    )
    points = samples.points.filter(pl.col("value").is_finite()).sort("series_id", "ts")
    joined = points.join(named, on="series_id", maintain_order="left")
    return joined.select(pl.concat_str("series", "value", pl.col("ts").round(3), separator=" "))
