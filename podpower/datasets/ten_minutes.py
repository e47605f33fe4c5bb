"""Sums of labels by entry, pod and ten minutes, added up batch by batch in memory that grows with the sums only."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.datasets.hash_versions import VERSION_COLUMN
from podpower.datasets.rows import IMAGE_KEY, IS_RUN, PHYSICAL, POWER, SECONDS, TOTAL
from podpower.datasets.tables import KEYS, keyed

TEN_MINUTES_S: Final = 600.0
ENTRY, PART, CONTROLLER = "_entry", "_part", "_controller"
FIRST, RUNS, RUN_W, RUN_S = "_first_s", "_runs", "_run_w", "_run_s"
_POD = "_pod"
_PENDING_ROWS = 1 << 20  # sums of batches that are held before they are added up
_SUMS = (
    pl.col("_step_j", "_step_s", "_run_j", RUN_S, "_total_j", RUNS).sum(),
    pl.col(FIRST).min(),
    pl.col("ts").max(),
)


class TenMinuteSums:
    """Sums of one batch after another; `add` the batches, then read `entries` and `frame`."""

    def __init__(self) -> None:
        self._whole: pl.DataFrame | None = None
        self._parts: list[pl.DataFrame] = []
        self._entries, self._pods = _Codes(KEYS, ENTRY), _Codes(("pod",), _POD)
        self._latest: pl.DataFrame | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Add the usable rows of one batch (`podpower.datasets.rows`)."""
        power, seconds, run = pl.col(POWER), pl.col(SECONDS), pl.col(IS_RUN)
        middle_s = pl.col("ts") - pl.when(run).then(0.0).otherwise(pl.col("step_seconds") / 2)
        part = rows.with_columns(
            *keyed(),
            pl.col("workload_kind").fill_null("").alias(CONTROLLER),
            # A step is stamped with its end, which may be in the next ten minutes.
            (middle_s // TEN_MINUTES_S).cast(pl.Int64).alias(PART),
            pl.when(~run).then(power * seconds).otherwise(0.0).alias("_step_j"),
            pl.when(~run).then(seconds).otherwise(0.0).alias("_step_s"),
            pl.when(run).then(power * seconds).otherwise(0.0).alias("_run_j"),
            pl.when(run).then(seconds).otherwise(0.0).alias(RUN_S),
            pl.col(TOTAL).fill_null(0.0).alias("_total_j"),
            pl.col(TOTAL).is_not_null().cast(pl.Int64).alias(RUNS),
            pl.col("ts").alias(FIRST),
        )
        latest = _latest_of(part)
        self._latest = latest if self._latest is None else _latest_of(pl.concat([self._latest, latest]))
        sums = part.group_by(*KEYS, "pod", PART).agg(*_SUMS)
        self._parts.append(self._pods.encoded(self._entries.encoded(sums)))
        # In proportion to the whole, so that adding up takes time in proportion to the rows.
        if sum(map(len, self._parts)) > max(_PENDING_ROWS, 0 if self._whole is None else len(self._whole)):
            self._add_up()

    def entries(self) -> pl.DataFrame:
        """Return KEYS of each entry, in their order, with columns of its latest label."""
        assert self._latest is not None  # noqa: S101 - there is at least one batch
        return self._latest.sort(KEYS).with_row_index(ENTRY)

    def frame(self) -> pl.DataFrame:
        """Return the means of each ten minutes, sorted by entry, time and pod; `cluster` and `pod` are Enums.

        A run gives power only where no step of its entry has any in the ten minutes: both measure the same seconds.
        """
        entries, clusters, pods = self.entries(), self.entries()["_cluster"], self._pods.known["pod"]
        of_cluster = clusters.replace("", None).cast(pl.Enum(clusters.filter(clusters != "").unique().sort()))
        of_pod = pods.cast(pl.Enum(pods.drop_nulls().sort()))
        place = self._entries.places(entries)
        whole = self._add_up()
        runs = bool((whole[RUN_S] > 0).any())  # without any, there is nothing to choose between
        in_steps = pl.col("_step_s").sum().over(ENTRY, PART) > 0 if runs else pl.lit(value=True)
        seconds = pl.when(in_steps).then("_step_s").otherwise(RUN_S)
        at = place[whole[ENTRY].to_numpy()]
        return (
            whole.with_columns(
                pl.Series(ENTRY, at, dtype=pl.UInt32),
                of_cluster.gather(at).alias("cluster"),
                of_pod.gather(whole[_POD]).alias("pod"),
                seconds.alias(SECONDS),
                (pl.when(in_steps).then("_step_j").otherwise("_run_j") / seconds).fill_nan(None).alias(POWER),
                pl.when(pl.col(RUNS) > 0).then(pl.col("_total_j") / pl.col(RUNS)).alias(TOTAL),
                (pl.col("_run_j") / pl.col(RUN_S)).fill_nan(None).alias(RUN_W),
            )
            .select(ENTRY, PART, "cluster", "pod", "ts", FIRST, POWER, SECONDS, TOTAL, RUNS, RUN_W, RUN_S)
            .sort(ENTRY, PART, "pod")
        )

    def _add_up(self) -> pl.DataFrame:
        parts = self._parts if self._whole is None else [self._whole, *self._parts]
        if self._parts:
            alike = [part.select(parts[0].columns) for part in parts]
            self._whole = pl.concat(alike).group_by(ENTRY, _POD, PART).agg(*_SUMS)
        self._parts = []
        assert self._whole is not None  # noqa: S101 - there is at least one batch
        return self._whole


def _latest_of(rows: pl.DataFrame) -> pl.DataFrame:
    latest = pl.col(CONTROLLER, IMAGE_KEY, PHYSICAL).get(pl.col("ts").arg_max())
    return rows.group_by(KEYS).agg(latest, pl.col("ts").max(), pl.col(VERSION_COLUMN).min())


class _Codes:
    """A number for each distinct row of some columns, in order of appearance."""

    def __init__(self, columns: Sequence[str], name: str) -> None:
        self._columns, self._name = list(columns), name
        self.known = pl.DataFrame(schema=dict.fromkeys(columns, pl.String) | {name: pl.UInt32})

    def encoded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with their number in place of the columns."""
        distinct = rows.select(self._columns).unique(maintain_order=True)
        new = distinct.join(self.known, on=self._columns, how="anti", nulls_equal=True)
        if len(new):
            number = pl.Series(self._name, np.arange(len(self.known), len(self.known) + len(new)), dtype=pl.UInt32)
            self.known = pl.concat([self.known, new.with_columns(number)])
        return rows.join(self.known, on=self._columns, how="left", nulls_equal=True).drop(self._columns)

    def places(self, ordered: pl.DataFrame) -> NDArray[np.int64]:
        """Return the row of `ordered` of each number."""
        rows = ordered.select(self._columns).with_row_index("_row")
        found = self.known.join(rows, on=self._columns, how="left", nulls_equal=True, maintain_order="left")
        return found["_row"].to_numpy().astype(np.int64)
