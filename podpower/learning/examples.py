"""Rows (a label a step, or a label a job) into examples: one for each spec, workload and hour, weighed by its seconds.

One pod gives hundreds of nearly equal steps. As examples of their own they would be each other's neighbours; as one
weighted mean an hour they count once, and what differs between hours is kept for the interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.learning.tables import TrainingRows, training_rows
from podpower.rows import FEATURES, ROW, WIDTH

TARGETS = ("energy_step_j", "avg_power_w", "total_energy_j")
WINDOW_SECONDS = 3600.0
SHORT_WINDOW_SECONDS = 600.0  # of labels of one hour or less, which would else show no spread at all
DEFAULT_STEP_SECONDS = 60.0
# Columns of `train_rows.parquet` (docs/data-contracts.md) that are read here.
SPEC_HASH, FINGERPRINT, IMAGE_KEY = "_spec_hash", "encoder_fingerprint", "image_key"
PHYSICAL, BLOCKS = "physical_power_w", "feature_blocks"
WORKLOAD = ("namespace", "workload_kind", "workload_name")
_REQUIRED = (*WORKLOAD, SPEC_HASH, FEATURES)
_POWER, _TOTAL, _SECONDS = "_power_w", "_total_j", "_seconds"

Workload = tuple[str, str, str]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What is known of m specs before they run, in parallel arrays, one for each (cluster, workload, spec).

    `vectors` (m, dim) are the encoder's, `blocks` the widths of its blocks of columns, `physical_power_w` the estimate
    of `podpower.features.physical` (NaN: not told).
    """

    vectors: NDArray[np.float32]
    spec_hashes: Sequence[str]
    workloads: Sequence[Workload]
    clusters: Sequence[str | None]
    image_keys: Sequence[str | None]
    physical_power_w: NDArray[np.float64]
    blocks: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.spec_hashes)

    def take(self, positions: NDArray[np.int64]) -> "Entries":
        """The entries at `positions`, in that order."""
        return Entries(
            vectors=self.vectors[positions],
            spec_hashes=[self.spec_hashes[i] for i in positions],
            workloads=[self.workloads[i] for i in positions],
            clusters=[self.clusters[i] for i in positions],
            image_keys=[self.image_keys[i] for i in positions],
            physical_power_w=self.physical_power_w[positions],
            blocks=self.blocks,
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in parallel arrays, sorted by entry and window (or pod); `entry` says which of `entries` each is of.

    `power_w` is the mean over the known seconds of the example, `seconds` their number, `total_energy_j` the mean of
    its jobs (NaN: not a job), `first_s` and `last_s` the times of its earliest and latest label, `pods` one of its
    pods. The workload of an entry, which is what cross-validation leaves out, is (namespace, kind, name), or the pod
    itself where a Node owns it. `left_out` counts rows without a usable label by reason.
    """

    entries: Entries
    entry: NDArray[np.int64]
    pods: Sequence[str | None]
    first_s: NDArray[np.float64]
    last_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.power_w)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Examples":
        """The examples at `index` (positions or a mask), in that order, and the entries they are of."""
        positions = np.arange(len(self))[index]
        used, entry = np.unique(self.entry[positions], return_inverse=True)
        return Examples(
            entries=self.entries.take(used),
            entry=entry.astype(np.int64),
            pods=[self.pods[i] for i in positions],
            first_s=self.first_s[positions],
            last_s=self.last_s[positions],
            power_w=self.power_w[positions],
            total_energy_j=self.total_energy_j[positions],
            seconds=self.seconds[positions],
            step_seconds=self.step_seconds,
            energy=self.energy,
            encoder_fingerprint=self.encoder_fingerprint,
            left_out=self.left_out,
        )


def examples_from_rows(rows: pl.DataFrame | TrainingRows, *, target: str = "energy_step_j") -> Examples:
    """Aggregate `train_rows` (docs/data-contracts.md) of window or job labels to (cluster, workload, spec, hour).

    Rows without a finite, non-negative label or without features are counted in `left_out`, not used. InvalidInput
    when columns are missing, the target is in no row, nothing usable is left, or vectors of two encoders, two step
    lengths or two kinds of energy are mixed.
    """
    middle_s = pl.col("ts") - pl.col("step_seconds") / 2  # a step is stamped with its end, which may be the next hour's
    span_s = middle_s.max() - middle_s.min()
    window_s = pl.when(span_s > WINDOW_SECONDS).then(WINDOW_SECONDS).otherwise(SHORT_WINDOW_SECONDS)
    return _aggregated(rows, target=target, part=middle_s // window_s)


def pods_from_rows(rows: pl.DataFrame | TrainingRows, *, target: str = "energy_step_j") -> Examples:
    """As `examples_from_rows`, but one example for each pod and spec over all its time: what evaluation measures."""
    return _aggregated(rows, target=target, part=pl.col("pod"))


def known_rows(rows: pl.DataFrame | TrainingRows, *, target: str = "energy_step_j") -> TrainingRows:
    """The rows that `examples_from_rows` would use, with `ts` in every mode of labels (a job's start)."""
    table = training_rows(rows)
    _check_columns(table.frame, target)
    return TrainingRows(frame=_usable(_with_labels(table.frame), target)[0], fetch=table.fetch)


def _aggregated(rows: pl.DataFrame | TrainingRows, *, target: str, part: pl.Expr) -> Examples:
    source = training_rows(rows)
    _check_columns(source.frame, target)
    known, left_out = _usable(_with_labels(source.frame), target)
    step_seconds = _only_value(known, "step_seconds", DEFAULT_STEP_SECONDS, "step lengths")
    energy = _only_value(known, "energy", None, "kinds of energy")
    widths = known[WIDTH].unique().sort().to_list()
    if len(widths) > 1:
        raise InvalidInput(f"features must all have one length, not {widths}: encode them with one encoder")
    fingerprint = _only_value(known, FINGERPRINT, "", "encoders' vectors")
    keys = ["_cluster", "_namespace", "_kind", "_name", SPEC_HASH]
    known = known.with_columns(
        pl.col("cluster").fill_null("").alias("_cluster"),
        pl.col("namespace").fill_null("").alias("_namespace"),
        _owner("workload_kind", pl.lit("Pod")).alias("_kind"),
        _owner("workload_name", pl.col("pod")).alias("_name"),
        part.alias("_part"),
    ).sort("ts", *WORKLOAD, "pod")
    entries = known.group_by(keys).agg(pl.col(ROW, IMAGE_KEY, PHYSICAL, "cluster").last()).sort(keys)
    entries = entries.with_row_index("_entry")
    table = (
        known.group_by(*keys, "_part")
        .agg(
            pl.col("pod", "ts").first(),
            pl.col("ts").last().alias("_last"),
            ((pl.col(_POWER) * pl.col(_SECONDS)).sum() / pl.col(_SECONDS).sum()).alias(_POWER),
            pl.col(_TOTAL).mean(),
            pl.col(_SECONDS).sum(),
        )
        .join(entries.select(*keys, "_entry"), on=keys, how="left")
        .sort("_entry", "_part")
    )
    vectors = source.vectors(entries[ROW].to_numpy().astype(np.int64))
    return Examples(
        entries=Entries(
            vectors=vectors,
            spec_hashes=entries[SPEC_HASH].to_list(),
            workloads=list(zip(*(entries[c].to_list() for c in keys[1:4]), strict=True)),
            clusters=entries["cluster"].to_list(),
            image_keys=entries[IMAGE_KEY].to_list(),
            physical_power_w=entries[PHYSICAL].fill_null(float("nan")).to_numpy(),
            blocks=_blocks(known, vectors.shape[1]),
        ),
        entry=table["_entry"].to_numpy().astype(np.int64),
        pods=table["pod"].to_list(),
        first_s=table["ts"].to_numpy(),
        last_s=table["_last"].to_numpy(),
        power_w=table[_POWER].to_numpy(),
        total_energy_j=table[_TOTAL].fill_null(float("nan")).to_numpy(),
        seconds=table[_SECONDS].to_numpy(),
        step_seconds=float(step_seconds),
        energy=energy,
        encoder_fingerprint=str(fingerprint),
        left_out=left_out,
    )


def _blocks(rows: pl.DataFrame, width: int) -> tuple[int, ...]:
    """The widths of the encoder's blocks; one block of all columns where the rows do not tell."""
    told = rows[BLOCKS].drop_nulls()
    blocks = tuple(told[0].to_list()) if len(told) else (width,)
    if sum(blocks) != width or min(blocks) < 0:
        raise InvalidInput(f"{BLOCKS} {list(blocks)} do not add up to the {width} columns of {FEATURES}: encode again")
    return blocks


def _owner(column: str, of_static_pod: pl.Expr) -> pl.Expr:
    """Static pods are owned by their Node, which is no workload: each is one of its own."""
    static = (pl.col("workload_kind") == "Node") & pl.col("pod").is_not_null()
    return pl.when(static).then(of_static_pod).otherwise(pl.col(column)).fill_null("")


def _check_columns(rows: pl.DataFrame, target: str) -> None:
    if target not in TARGETS:
        raise InvalidInput(f"unknown target {target!r}: use one of {', '.join(TARGETS)}")
    missing = [c for c in _REQUIRED if c not in rows.columns and not (c == FEATURES and WIDTH in rows.columns)]
    if missing:
        raise InvalidInput(f"training rows lack the columns {', '.join(missing)}: make them with `podpower join`")
    present = [column for column in TARGETS if column in rows.columns]
    if not present:
        raise InvalidInput(f"training rows have no label: expected one of the columns {', '.join(TARGETS)}")
    if target == "total_energy_j" and target not in present:
        raise InvalidInput(f"target total_energy_j needs job labels; these rows have {', '.join(present)}")
    numbers = [c for c in (*present, "ts", "step_seconds", "start_s", "duration_s", PHYSICAL) if c in rows.columns]
    for column in numbers:
        if not (rows.schema[column].is_numeric() or rows.schema[column] == pl.Null):
            raise InvalidInput(f"column {column} must hold numbers, not {rows.schema[column]}")


def _with_labels(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds `_power_w`, `_total_j`, `_seconds` and what optional columns are absent, whatever the mode of the labels."""
    absent: dict[str, type[pl.DataType] | pl.DataType] = {
        "avg_power_w": pl.Float64,
        "energy_step_j": pl.Float64,
        "total_energy_j": pl.Float64,
        "duration_s": pl.Float64,
        "ts": pl.Float64,
        "start_s": pl.Float64,
        "pod": pl.String,
        "energy": pl.String,
        FINGERPRINT: pl.String,
        IMAGE_KEY: pl.String,
        "cluster": pl.String,
        PHYSICAL: pl.Float64,
        BLOCKS: pl.List(pl.Int64),
    }
    rows = rows.with_columns(pl.lit(None, t).alias(name) for name, t in absent.items() if name not in rows.columns)
    if "step_seconds" not in rows.columns:
        rows = rows.with_columns(step_seconds=pl.lit(DEFAULT_STEP_SECONDS))
    step = pl.col("step_seconds").cast(pl.Float64).fill_null(DEFAULT_STEP_SECONDS)
    duration = pl.col("duration_s").cast(pl.Float64)
    total = pl.col("total_energy_j").cast(pl.Float64)
    power = pl.coalesce(
        pl.col("avg_power_w").cast(pl.Float64),
        pl.col("energy_step_j").cast(pl.Float64) / step,
        pl.when(duration > 0).then(total / duration),
    )
    return rows.with_columns(
        step_seconds=step,
        ts=pl.coalesce(pl.col("ts").cast(pl.Float64), pl.col("start_s").cast(pl.Float64), pl.lit(0.0)),
        **{_POWER: power, _TOTAL: total, _SECONDS: pl.coalesce(duration, step)},
    )


def _usable(rows: pl.DataFrame, target: str) -> tuple[pl.DataFrame, dict[str, int]]:
    label = pl.col(_TOTAL) if target == "total_energy_j" else pl.col(_POWER)
    reason = (
        pl.when(pl.col(WIDTH).is_null() | pl.col(SPEC_HASH).is_null())
        .then(pl.lit("no spec"))
        .when(label.is_null())
        .then(pl.lit("label is null"))
        .when(~label.is_finite())
        .then(pl.lit("label is not finite"))
        .when(label < 0)
        .then(pl.lit("label is negative"))
        # A job may have a total and no duration, hence no power.
        .when(pl.col(_POWER).is_null() | ~pl.col(_POWER).is_finite() | ~(pl.col(_SECONDS) > 0))
        .then(pl.lit("no known power or duration"))
    )
    rows = rows.with_columns(_left_out=reason)
    counts = rows.drop_nulls("_left_out").group_by("_left_out").len().sort("_left_out")
    left_out = dict(counts.iter_rows())
    known = rows.filter(pl.col("_left_out").is_null())
    if known.is_empty():
        why = ", ".join(f"{reason} ({count} rows)" for reason, count in left_out.items()) or "there are no rows"
        raise InvalidInput(f"no row with a known label of {target}: {why}")
    return known, left_out


def _only_value(rows: pl.DataFrame, column: str, default: T, what: str) -> T:
    values = rows[column].drop_nulls().unique().sort().to_list()
    if len(values) > 1:
        shown = ", ".join(str(value)[:12] for value in values[:3])
        raise InvalidInput(f"training rows mix {len(values)} {what} ({shown}): train on rows of one {column}")
    return values[0] if values else default
