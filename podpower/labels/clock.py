"""Scrapes and restarts of exporters, as the counters of their nodes show them."""

import polars as pl

from podpower.labels.counters import TS, Samples

CLOCK_SCHEMA = pl.Schema({"exporter": pl.Int64(), TS: pl.Float64(), "fell": pl.Boolean(), "judged": pl.Boolean()})


def exporter_clock(points: pl.DataFrame, nodes: pl.DataFrame, samples: Samples) -> pl.DataFrame:
    """Return a row for each scrape of an exporter (its code in `samples`): whether a counter of its node fell since the
    scrape before (`fell`), and whether one could have (`judged`). `nodes` are `node_series` of `points`.
    """
    if nodes.is_empty():
        return pl.DataFrame(schema=CLOCK_SCHEMA)
    codes = pl.DataFrame({"exporter": samples.exporters}, schema={"exporter": pl.String}).with_row_index("code")
    named = nodes.join(codes, on="exporter").select(
        "series_id", pl.col("code").cast(pl.Int64).alias("exporter"), "resets"
    )
    value = pl.col("value")
    shown = points.join(named, on="series_id").filter(value.is_finite()).sort("series_id", TS)
    before = value.shift(1).over("series_id")
    fell = (value < before).fill_null(value=False)
    return (
        shown.with_columns(
            (fell & pl.col("resets")).alias("fell"), (before.is_not_null() & pl.col("resets")).alias("judged")
        )
        .group_by("exporter", TS)
        .agg(pl.col("fell", "judged").any())
        .sort("exporter", TS)
        .select(CLOCK_SCHEMA.names())
        .cast(CLOCK_SCHEMA)
    )
