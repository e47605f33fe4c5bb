"""The labels table: its schemas, writing it, and reading files of podpower and of the reference system."""

from typing import TYPE_CHECKING

import polars as pl

from podpower.errors import InvalidInput
from podpower.labels.kepler import PSEUDO_PODS
from podpower.labels.reasons import REFERENCE_NULL

if TYPE_CHECKING:
    from podpower.io.places import AnyPath

_WHOSE = {
    "cluster": pl.String(),
    "namespace": pl.String(),
    "workload_kind": pl.String(),
    "workload_name": pl.String(),
    "pod": pl.String(),
}
WINDOWS_SCHEMA = pl.Schema(
    {
        "ts": pl.Float64(),
        **_WHOSE,
        "avg_power_w": pl.Float64(),
        "energy_step_j": pl.Float64(),
        "known_s": pl.Float64(),
        "step_seconds": pl.Float64(),
        "energy": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
        "reason": pl.String(),
        "label_source": pl.String(),
        "node_ratio": pl.Float64(),
    }
)
JOBS_SCHEMA = pl.Schema(
    {
        **_WHOSE,
        "start_s": pl.Float64(),
        "end_s": pl.Float64(),
        "duration_s": pl.Float64(),
        "avg_power_w": pl.Float64(),
        "total_energy_j": pl.Float64(),
        "known_share": pl.Float64(),
        "energy": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
        "pod_uid": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "label_source": pl.String(),
    }
)
COMMAND = "podpower label --prom URL --start T --end T --out labels.parquet"
_REQUIRED = ("namespace", "workload_kind", "workload_name", "pod")
_NUMBERS = (
    "ts",
    "avg_power_w",
    "energy_step_j",
    "total_energy_j",
    "step_seconds",
    "start_s",
    "end_s",
    "duration_s",
    "known_s",
    "known_share",
)
UNIQUE = ("cluster", "namespace", "pod", "ts")
_QUANTITIES = ("avg_power_w", "energy_step_j", "total_energy_j", "known_s", "known_share")


def in_jobs_schema(table: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of JOBS_SCHEMA, null where `table` lacks them, by pod and time."""
    whole = {name: pl.lit(None, kind) for name, kind in JOBS_SCHEMA.items() if name not in table.columns}
    chosen = table.with_columns(**whole).select(JOBS_SCHEMA.names()).cast(JOBS_SCHEMA)
    return chosen.sort("namespace", "pod", "start_s")


def read_labels(path: "AnyPath") -> pl.DataFrame:
    """Return labels in WINDOWS_SCHEMA or, without `ts` but with `total_energy_j`, in JOBS_SCHEMA; others are kept.

    Pseudo-pods are left out. InvalidInput names the column and what is wrong with it.
    """
    from podpower.io.parquet import TableFile  # noqa: PLC0415  # `podpower label` loads it while samples are fetched

    return checked_labels(TableFile(path=path, command=COMMAND).read(), source=str(path))


def checked_labels(table: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Return `table` as `read_labels` does."""
    whole = in_schema(table, source=source)
    jobs = "ts" not in table.columns
    check_values(whole, jobs=jobs, source=source)
    check_unique(whole, jobs=jobs, source=source)
    return completed(whole, step_s=None if jobs else step_of(whole))


def in_schema(table: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Return the columns of the table's schema first, null where they are missing, without pseudo-pods."""
    jobs = "ts" not in table.columns and "total_energy_j" in table.columns
    schema = JOBS_SCHEMA if jobs else WINDOWS_SCHEMA
    required = (*_REQUIRED, "total_energy_j") if jobs else (*_REQUIRED, "ts", "energy_step_j")
    missing = [c for c in required if c not in table.columns]
    if not jobs and missing == ["energy_step_j"] and "avg_power_w" in table.columns:
        missing = []
    if missing:
        raise InvalidInput(f"{source}: no column {', '.join(missing)}; labels need {', '.join(required)}")
    for column in (c for c in _NUMBERS if c in table.columns):
        if not (table.schema[column].is_numeric() or table.schema[column] == pl.Null):
            raise InvalidInput(f"{source}: column {column} holds {table.schema[column]}, not numbers")
    for column in (c for c in _REQUIRED if table.schema[c] != pl.String):
        raise InvalidInput(f"{source}: column {column} holds {table.schema[column]}, not text")
    added = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in table.columns]
    try:
        whole = table.with_columns(*added).with_columns(pl.col(name).cast(dtype) for name, dtype in schema.items())
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"{source}: {str(error).splitlines()[0]}; expected {schema}") from error
    whole = whole.filter(~pl.col("pod").is_in(PSEUDO_PODS))
    return whole.select(*schema.names(), pl.exclude(schema.names()))


def check_values(table: pl.DataFrame, *, jobs: bool, source: str) -> None:
    """InvalidInput where a quantity is negative or not finite, or a step has no time or pod."""
    for column in (c for c in _QUANTITIES if c in table.columns):
        bad = table.filter((pl.col(column) < 0) | ~pl.col(column).is_finite())
        if len(bad):
            row = bad.row(0, named=True)
            raise InvalidInput(
                f"{source}: column {column} has {len(bad)} negative or infinite values, e.g. {row[column]} of pod "
                f"{row['pod']}"
            )
    if jobs:
        return
    runs = table["total_energy_j"].count() if "total_energy_j" in table.columns else 0
    for column in ("ts", "pod"):
        if nulls := table[column].null_count():
            fix = (
                f": labels of {runs} runs stand among those of steps; write them to two files and give both"
                if runs
                else ""
            )
            raise InvalidInput(f"{source}: column {column} has {nulls} nulls{fix}")


def check_unique(table: pl.DataFrame, *, jobs: bool, source: str) -> None:
    """InvalidInput where two steps share pod and time."""
    if jobs:
        return
    twice = table.filter(pl.struct(UNIQUE).is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise InvalidInput(
            f"{source}: {len(twice)} rows share pod and ts with another, e.g. pod {row['pod']} at {row['ts']:.0f}"
        )


def step_of(table: pl.DataFrame) -> float:
    """Return the median spacing of a pod's labels."""
    spacing = table.sort("ts").select(pl.col("ts").diff().over("namespace", "pod").alias("d")).drop_nulls()["d"]
    return float(spacing.median() or 60.0) if len(spacing) else 60.0  # type: ignore[arg-type]


def completed(table: pl.DataFrame, *, step_s: float | None) -> pl.DataFrame:
    """Fill in columns from others: the step (None: labels of jobs), power from energy, energy from power."""
    if step_s is None:
        reason = pl.when(pl.col("total_energy_j").is_null()).then(pl.lit(REFERENCE_NULL))
        return table.with_columns(pl.coalesce("reason", reason).alias("reason"))
    table = table.with_columns(pl.col("step_seconds").fill_null(step_s))
    # A partial step has power for its known seconds, and no energy.
    whole = pl.col("known_s").is_null() | (pl.col("known_s") >= pl.col("step_seconds"))
    table = table.with_columns(
        pl.coalesce("energy_step_j", pl.when(whole).then(pl.col("avg_power_w") * pl.col("step_seconds"))).alias(
            "energy_step_j"
        )
    )
    known_s = pl.when(pl.col("energy_step_j").is_not_null()).then("step_seconds").otherwise(0.0)
    table = table.with_columns(pl.coalesce("known_s", known_s).alias("known_s"))
    reason = pl.when(pl.col("energy_step_j").is_null()).then(pl.lit(REFERENCE_NULL))
    return table.with_columns(
        pl.coalesce("avg_power_w", pl.col("energy_step_j") / pl.col("step_seconds")).alias("avg_power_w"),
        pl.coalesce("reason", reason).alias("reason"),
    )
