"""Samples of many series in parts, each of the exporters of some nodes, so that memory does not grow with the pods."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

import polars as pl

from podpower.io import heap
from podpower.labels.kepler import PSEUDO_PODS, exporter
from podpower.sources.protocols import MetricSamples

FEW_SERIES = 2_500  # or fewer are one part
_MOST_SERIES = 300  # of a part
_POD = ("_namespace", "pod_name")


def parts_of(samples: MetricSamples, *, few: int = FEW_SERIES, most: int = _MOST_SERIES) -> Iterator[MetricSamples]:
    """Yield the samples in parts of about `most` series. All series of an exporter are in one part, and so are all of a
    pod: exporters that share a pod, which moved from node to node, are in the first part together.

    >>> rows = [("a", "x"), ("a", "y"), ("b", "z"), ("c", "x"), ("d", "kernel_processes"), ("a", "kernel_processes")]
    >>> series = pl.DataFrame({"instance": [e for e, _ in rows], "pod_name": [p for _, p in rows]})
    >>> series = series.with_row_index("series_id").with_columns(
    ...     pl.lit("n").alias("pod_namespace"), container_namespace=None, node_name=None
    ... )
    >>> whole = MetricSamples(series=series, points=series.select("series_id"))
    >>> [part.points["series_id"].to_list() for part in parts_of(whole, few=1, most=1)]
    [[0, 1, 3, 5], [2], [4]]
    """
    if len(samples.series) <= few:
        yield samples
        return
    heap.keep_small()  # which slows down what is small anyway
    series = samples.series.select(
        "series_id", exporter().alias("exporter"), pl.coalesce("pod_namespace", "container_namespace").alias(_POD[0]),
        "pod_name",
    )  # fmt: skip
    pods = series.filter(pl.col("pod_name").is_not_null() & ~pl.col("pod_name").is_in(PSEUDO_PODS))
    several = pods.select(*_POD, "exporter").unique().filter(pl.len().over(*_POD) > 1)
    shared = pl.col("exporter").is_in(several["exporter"].unique().implode())
    sizes = series.group_by(pl.when(~shared).then("exporter").alias("alone")).len().sort("alone", nulls_last=False)
    before = [0, *accumulate(sizes["len"])][:-1]
    number = sizes.with_columns(pl.Series("part", [count // most for count in before]))
    of_series = series.select("series_id", pl.when(~shared).then("exporter").alias("alone")).join(
        number, on="alone", nulls_equal=True
    )
    for ids in of_series.sort("part").partition_by("part", maintain_order=True):
        yield replace(
            samples,
            series=samples.series.join(ids, on="series_id", how="semi", maintain_order="left"),
            points=samples.points.join(ids, on="series_id", how="semi", maintain_order="left"),
        )
        heap.trim()  # of what the use of this part took
