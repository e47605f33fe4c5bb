"""Rows (a label a step, or a label a job) into examples: one for each spec, workload and hour, weighed by its seconds.

One pod gives hundreds of nearly equal steps. As examples of their own they would be each other's neighbours; as one
weighted mean an hour they count once, and what differs between hours is kept for the interval. Rows are read once, in
batches that are reduced to sums over ten minutes each, so that memory does not grow with the number of steps;
parts of their time and single clusters are cut from those sums.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, Examples
from podpower.datasets.renewal import is_older
from podpower.datasets.rows import IMAGE_KEY, PHYSICAL, POWER, SECONDS, TOTAL, RowReader
from podpower.datasets.tables import SPEC_HASH, TrainingRows, training_rows
from podpower.datasets.ten_minutes import (
    CONTROLLER,
    ENTRY,
    FIRST,
    PART,
    RUN_S,
    RUN_W,
    RUNS,
    TEN_MINUTES_S,
    TenMinuteSums,
)
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.kubernetes.controllers import same_kind

_HOUR = (pl.col(PART) * TEN_MINUTES_S // HOUR_S).cast(pl.Int64)


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """The usable rows of one target: `frame` has a row for each entry, pod and TEN_MINUTES_S, with `ts`
    (the time of its last label) and what was measured; `left_out` counts the rows without a usable label by
    reason, `row_count` all rows, `older_hashes` the entries whose spec hash is of an older version. `label_sources`
    and `node_ratios` (of pods to nodes, in the hours that have one) are those of the labels.
    """

    target: str
    frame: pl.DataFrame
    entries: Entries
    blocks: tuple[int, ...]
    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    left_out: dict[str, int]
    row_count: int
    older_hashes: int
    label_sources: tuple[str, ...] = ()
    node_ratios: tuple[float, ...] = ()

    def __len__(self) -> int:
        return self.row_count - sum(self.left_out.values())

    @classmethod
    def of(cls, rows: "Rows", *, target: str | None = None) -> "TrainingSet":
        """Read `train_rows` (docs/reference/file-formats.md) of window or job labels.

        Without a `target` it is "energy_step_j", or "total_energy_j" of rows that are all of jobs. Rows without a
        finite, non-negative label or without features are counted, not used, and so are those of a cluster whose
        labels are all 0 beside others. InvalidInput when columns are missing,
        the target is in no row or another than that of rows already read, nothing usable is left, or vectors of two
        encoders, two step lengths or two kinds of energy are mixed.
        """
        if isinstance(rows, TrainingSet):
            if target not in {None, rows.target}:
                raise InvalidInput(
                    f"these rows were read for the target {rows.target}, not {target}: read them again for {target}"
                )
            return rows
        source = training_rows(rows)
        reader, sums = RowReader(target), TenMinuteSums()
        for batch in source.batches():
            sums.add(reader.read(batch))
        facts, entries, unmetered = reader.facts(), sums.entries(), reader.unmetered()
        return cls(
            target=reader.target,
            frame=_without_clusters(sums.frame(), unmetered),
            entries=Entries(
                spec_hashes=entries[SPEC_HASH].to_list(),
                clusters=_shared(entries["_cluster"]),
                namespaces=_shared(entries["_namespace"]),
                kinds=_shared(entries["_kind"]),
                names=_shared(entries["_name"]),
                controllers=[same_kind(kind) for kind in _shared(entries[CONTROLLER])],
                image_keys=_shared(entries[IMAGE_KEY].fill_null("")),
                physical_power_w=entries[PHYSICAL].fill_null(float("nan")).to_numpy(),
                vectors=source.vectors(entries),
            ),
            blocks=facts.blocks,
            step_seconds=facts.step_seconds,
            energy=facts.energy,
            encoder_fingerprint=facts.encoder_fingerprint,
            left_out=reader.left_out | {_no_meter(cluster): rows for cluster, rows in unmetered.items()},
            row_count=reader.row_count,
            # Hashes of another system have no version.
            older_hashes=len(entries.filter(is_older())) if facts.encoder_fingerprint else 0,
            label_sources=facts.label_sources,
            node_ratios=facts.node_ratios,
        )

    def where(self, condition: pl.Expr) -> "TrainingSet":
        """Return the rows for which it holds, by `ts`, `cluster` and `pod`; maybe none."""
        return replace(self, frame=self.frame.filter(condition))

    def split(self, at_s: float) -> tuple["TrainingSet", "TrainingSet"]:
        """Return the rows that begin up to a time and those that begin after it. A row that has labels of both sides is
        of the first, so that all labels of the second are newer.
        """
        return self.where(pl.col(FIRST) <= at_s), self.where(pl.col(FIRST) > at_s)

    def hours(self) -> pl.DataFrame:
        """Return the mean power of each entry in each hour: `entry` (its row in `entries`), `hour`, `first_s`, `last_s`
        and `power_w`, in this order.
        """
        seconds = pl.col(SECONDS)
        return (
            self.frame.group_by(pl.col(ENTRY).alias("entry"), _HOUR.alias("hour"))
            .agg(
                pl.col(FIRST).min().alias("first_s"),
                pl.col("ts").max().alias("last_s"),
                ((pl.col(POWER) * seconds).sum() / seconds.sum()).alias("power_w"),
            )
            .filter(pl.col("power_w").is_finite())
            .sort("entry", "hour")
        )

    def without(self, hours: pl.DataFrame) -> "TrainingSet":
        """Return the rows outside these hours (`entry` and `hour`, as of `hours`); possibly none."""
        left_out = hours.select(pl.col("entry").alias(ENTRY), pl.col("hour").alias("_hour"))
        kept = self.frame.with_columns(_HOUR.alias("_hour")).join(left_out, on=[ENTRY, "_hour"], how="anti")
        return replace(self, frame=kept.drop("_hour").sort(ENTRY, PART, "pod"))

    @property
    def power_w(self) -> NDArray[np.float64]:
        """The mean power of each row; NaN where it is unknown. InvalidInput where there are no rows."""
        _check_any(self.frame)
        return self.frame[POWER].fill_null(float("nan")).to_numpy()

    @property
    def workloads(self) -> int:
        """Number of workloads that have rows."""
        at = self.frame[ENTRY].unique().to_list()
        return len({self.entries.workload(entry) for entry in at})

    @property
    def range_s(self) -> tuple[float, float]:
        """The times of the first and the last label."""
        first, last = self.frame[FIRST].min(), self.frame["ts"].max()
        return float(first), float(last)  # type: ignore[arg-type]

    def examples(self) -> Examples:
        """Return the examples that a model is trained on, a row for each cluster, workload, spec and hour. InvalidInput
        where there are no rows.
        """
        short = pl.col(PART)
        span_s = (short.max() - short.min()) * TEN_MINUTES_S
        long = (short * TEN_MINUTES_S) // HOUR_S
        return self._aggregated(pl.when(span_s >= HOUR_S).then(long).otherwise(short), self.frame)

    def pods(self) -> Examples:
        """Return one example for each pod and spec over its whole time, which evaluation measures."""
        steps = pl.col(SECONDS).sum().over(ENTRY, "pod") > 0
        frame = self.frame.with_columns(
            pl.when(steps).then(POWER).otherwise(RUN_W).alias(POWER),
            pl.when(steps).then(SECONDS).otherwise(RUN_S).alias(SECONDS),
        )
        return self._aggregated(pl.col("pod"), frame)

    def _aggregated(self, part: pl.Expr, frame: pl.DataFrame) -> Examples:
        _check_any(frame)
        seconds, runs = pl.col(SECONDS), pl.col(RUNS)
        table = (
            frame.with_columns(part.alias("_by"))
            .group_by(ENTRY, "_by")
            .agg(
                pl.col("pod").first(),
                pl.col(FIRST).min(),
                pl.col("ts").max(),
                ((pl.col(POWER) * seconds).sum() / seconds.sum()).alias(POWER),
                pl.when(runs.sum() > 0).then((pl.col(TOTAL) * runs).sum() / runs.sum()).alias(TOTAL),
                seconds.sum(),
            )
            .filter(pl.col(SECONDS) > 0)
            .sort(ENTRY, "_by")
        )
        used, entry = np.unique(table[ENTRY].to_numpy().astype(np.int64), return_inverse=True)
        return Examples(
            entries=self.entries if len(used) == len(self.entries) else self.entries.take(used),
            entry=entry.astype(np.int64),
            pods=_texts(table["pod"]),
            first_s=table[FIRST].to_numpy(),
            last_s=table["ts"].to_numpy(),
            power_w=table[POWER].to_numpy(),
            total_energy_j=table[TOTAL].fill_null(float("nan")).to_numpy(),
            seconds=table[SECONDS].to_numpy(),
            blocks=self.blocks,
            step_seconds=self.step_seconds,
            energy=self.energy,
            encoder_fingerprint=self.encoder_fingerprint,
            left_out=self.left_out,
            older_hashes=self.older_hashes,
        )


def _check_any(frame: pl.DataFrame) -> None:
    if frame.is_empty():
        raise InvalidInput("there are no labels in this part of the rows")


def _shared(column: pl.Series) -> list[str]:
    """Return texts; each distinct one is in memory once."""
    distinct: dict[str, str] = {}
    return [distinct.setdefault(text, text) for text in column]


def _texts(column: pl.Series) -> list[str | None]:
    """Return the texts of an Enum; each distinct one is in memory once."""
    texts: list[str | None] = [*column.dtype.categories, None]  # type: ignore[attr-defined]
    return [texts[code] for code in column.to_physical().cast(pl.Int64).fill_null(-1).to_list()]


def _without_clusters(frame: pl.DataFrame, clusters: Collection[str]) -> pl.DataFrame:
    return frame.filter(~pl.col("cluster").cast(pl.String).fill_null("").is_in(list(clusters))) if clusters else frame


def _no_meter(cluster: str) -> str:
    return f"all labels of cluster {cluster or 'without a name'} are 0: it has no meter"


Rows = pl.DataFrame | TrainingRows | TrainingSet
