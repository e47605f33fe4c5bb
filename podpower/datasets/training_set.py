"""Rows (a label a step, or a label a job) into examples: one for each spec, workload and hour, weighed by its seconds.

One pod gives hundreds of nearly equal steps. As examples of their own they would be each other's neighbours; as one
weighted mean an hour they count once, and what differs between hours is kept for the interval. Rows are read once;
parts of their time and single clusters are cut from what was read.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from podpower.datasets.examples import Entries, Examples
from podpower.datasets.join import FEATURES, ROW, WIDTH
from podpower.datasets.tables import TrainingRows, training_rows
from podpower.errors import InvalidInput

TARGETS = ("energy_step_j", "avg_power_w", "total_energy_j")
WINDOW_SECONDS = 3600.0
SHORT_WINDOW_SECONDS = 600.0  # of labels of one hour or less, which would else show no spread at all
DEFAULT_STEP_SECONDS = 60.0
# A pod runs on one node, and a large one (eight accelerators: NVIDIA DGX B200, data sheet) is built for 14.3 kW.
MAX_POWER_W = 20_000.0
_LAST_S = 1e11  # Unix seconds until the year 5138: what is later was meant as milliseconds
# Columns of `train_rows.parquet` (docs/reference/file-formats.md) that are read here.
SPEC_HASH, FINGERPRINT, IMAGE_KEY = "_spec_hash", "encoder_fingerprint", "image_key"
PHYSICAL, BLOCKS = "physical_power_w", "feature_blocks"
WORKLOAD = ("namespace", "workload_kind", "workload_name")
_REQUIRED = (*WORKLOAD, SPEC_HASH, FEATURES)
_ENTRY, _POWER, _TOTAL, _SECONDS = "_entry", "_power_w", "_total_j", "_seconds"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The usable rows of one target: `frame` has, by entry and time, the entry each row is of, its `ts` (a job's start
    where there is no step), `pod` and label; `left_out` counts the rows without a usable label by reason, `row_count`
    all rows.
    """

    target: str
    frame: pl.DataFrame
    entries: Entries
    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    left_out: dict[str, int]
    row_count: int

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def of(cls, rows: "Rows", *, target: str = "energy_step_j") -> "Labelled":
        """Read `train_rows` (docs/reference/file-formats.md) of window or job labels.

        Rows without a finite, non-negative label or without features are counted, not used. InvalidInput when columns
        are missing, the target is in no row, nothing usable is left, or vectors of two encoders, two step lengths or
        two kinds of energy are mixed.
        """
        if isinstance(rows, Labelled):
            return rows
        source = training_rows(rows)
        _check_columns(source.frame, target)
        known, left_out = _usable(_with_labels(source.frame), target)
        step_seconds = float(_only_value(known, "step_seconds", DEFAULT_STEP_SECONDS, "step lengths"))
        energy = _only_value(known, "energy", None, "kinds of energy")
        widths = known[WIDTH].unique().sort().to_list()
        if len(widths) > 1:
            raise InvalidInput(f"features must all have one length, not {widths}: encode them with one encoder")
        fingerprint = str(_only_value(known, FINGERPRINT, "", "encoders' vectors"))
        blocks = _blocks(known, widths[0])
        known = known.select(
            pl.col("cluster").fill_null("").alias("_cluster"),
            pl.col("namespace").fill_null("").alias("_namespace"),
            _owner("workload_kind", pl.lit("Pod")).alias("_kind"),
            _owner("workload_name", pl.col("pod")).alias("_name"),
            *(SPEC_HASH, "cluster", IMAGE_KEY, PHYSICAL, ROW, "ts", "pod", _POWER, _TOTAL, _SECONDS),
        )
        keys = ["_cluster", "_namespace", "_kind", "_name", SPEC_HASH]
        latest = pl.col(ROW, IMAGE_KEY, PHYSICAL, "cluster").get(pl.col("ts").arg_max())
        entries = known.group_by(keys).agg(latest).sort(keys).with_row_index(_ENTRY)
        known = known.join(entries.select(*keys, _ENTRY), on=keys, how="left")
        return cls(
            target=target,
            frame=known.select(_ENTRY, "cluster", "ts", "pod", _POWER, _TOTAL, _SECONDS).sort(_ENTRY, "ts", "pod"),
            entries=Entries(
                vectors=source.vectors(entries[ROW].to_numpy().astype(np.int64)),
                spec_hashes=entries[SPEC_HASH].to_list(),
                workloads=list(zip(*(entries[c].to_list() for c in keys[1:4]), strict=True)),
                clusters=entries["cluster"].to_list(),
                image_keys=entries[IMAGE_KEY].to_list(),
                physical_power_w=entries[PHYSICAL].fill_null(float("nan")).to_numpy(),
                blocks=blocks,
            ),
            step_seconds=step_seconds,
            energy=energy,
            encoder_fingerprint=fingerprint,
            left_out=left_out,
            row_count=len(source),
        )

    def where(self, condition: pl.Expr) -> "Labelled":
        """The rows for which it holds, of `ts`, `cluster` and `pod`; maybe none."""
        return replace(self, frame=self.frame.filter(condition))

    @property
    def range_s(self) -> tuple[float, float]:
        """The times of the first and the last label."""
        first, last = self.frame["ts"].min(), self.frame["ts"].max()
        return float(first), float(last)  # type: ignore[arg-type]

    def examples(self) -> Examples:
        """Aggregated to (cluster, workload, spec, hour): what is trained on. InvalidInput where there are no rows."""
        # A step is stamped with its end, which may be the next hour's.
        middle_s = pl.col("ts") - self.step_seconds / 2
        span_s = middle_s.max() - middle_s.min()
        window_s = pl.when(span_s > WINDOW_SECONDS).then(WINDOW_SECONDS).otherwise(SHORT_WINDOW_SECONDS)
        return self._aggregated(middle_s // window_s)

    def pods(self) -> Examples:
        """As `examples`, but one for each pod and spec over all its time: what evaluation measures."""
        return self._aggregated(pl.col("pod"))

    def _aggregated(self, part: pl.Expr) -> Examples:
        if self.frame.is_empty():
            raise InvalidInput("there are no labels in this part of the rows")
        table = (
            self.frame.with_columns(part.alias("_part"))
            .group_by(_ENTRY, "_part", maintain_order=True)
            .agg(
                pl.col("pod", "ts").first(),
                pl.col("ts").last().alias("_last"),
                ((pl.col(_POWER) * pl.col(_SECONDS)).sum() / pl.col(_SECONDS).sum()).alias(_POWER),
                pl.col(_TOTAL).mean(),
                pl.col(_SECONDS).sum(),
            )
            .sort(_ENTRY, "_part")
        )
        used, entry = np.unique(table[_ENTRY].to_numpy().astype(np.int64), return_inverse=True)
        return Examples(
            entries=self.entries if len(used) == len(self.entries) else self.entries.take(used),
            entry=entry.astype(np.int64),
            pods=table["pod"].to_list(),
            first_s=table["ts"].to_numpy(),
            last_s=table["_last"].to_numpy(),
            power_w=table[_POWER].to_numpy(),
            total_energy_j=table[_TOTAL].fill_null(float("nan")).to_numpy(),
            seconds=table[_SECONDS].to_numpy(),
            step_seconds=self.step_seconds,
            energy=self.energy,
            encoder_fingerprint=self.encoder_fingerprint,
            left_out=self.left_out,
        )


Rows = pl.DataFrame | TrainingRows | Labelled


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
    numbers = (*present, "ts", "step_seconds", "start_s", "duration_s", "known_s", "known_share", PHYSICAL)
    for column in (c for c in numbers if c in rows.columns):
        if not (rows.schema[column].is_numeric() or rows.schema[column] == pl.Null):
            raise InvalidInput(f"column {column} must hold numbers, not {rows.schema[column]}")


def _with_labels(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds `_power_w`, `_total_j`, `_seconds` and what optional columns are absent, whatever the mode of the labels."""
    absent: dict[str, type[pl.DataType] | pl.DataType] = {
        "avg_power_w": pl.Float64,
        "energy_step_j": pl.Float64,
        "total_energy_j": pl.Float64,
        "duration_s": pl.Float64,
        "known_s": pl.Float64,  # of a step, where not all of it is known
        "known_share": pl.Float64,  # of a job's duration
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
    seconds = pl.coalesce(duration * pl.col("known_share").cast(pl.Float64).fill_null(1.0), "known_s", step)
    # Of labels without any time, as the reference system's of jobs, all are of one.
    timed = [pl.col(name).cast(pl.Float64) for name in ("ts", "start_s") if rows[name].null_count() < len(rows)]
    physical = pl.col(PHYSICAL).cast(pl.Float64)
    return rows.with_columns(
        pl.when((physical > 0) & physical.is_finite()).then(physical).alias(PHYSICAL),
        step_seconds=step,
        ts=pl.coalesce(*timed) if timed else pl.lit(0.0),
        **{_POWER: power, _TOTAL: total, _SECONDS: seconds},
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
        .when(pl.col(_POWER) > MAX_POWER_W)
        .then(pl.lit(f"label is over {MAX_POWER_W / 1000:g} kW a pod"))
        .when(pl.col("ts").is_null() | ~pl.col("ts").is_finite())
        .then(pl.lit("time is not known"))
        .when(pl.col("ts") > _LAST_S)
        .then(pl.lit("time is not in Unix seconds"))
        # A job may have a total and no duration, hence no power.
        .when(
            pl.col(_POWER).is_null()
            | ~pl.col(_POWER).is_finite()
            | ~(pl.col(_SECONDS) > 0)
            | ~pl.col(_SECONDS).is_finite()
        )
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
