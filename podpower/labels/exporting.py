"""From a source of samples to the labels table: windows (one row a pod and step) and jobs (one row a pod)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from podpower.errors import InvalidInput
from podpower.labels import reasons
from podpower.labels.counters import ENDED_AFTER_S, ENERGY, REASON, TS, clean, pod_energy, step_energy
from podpower.labels.kepler import PSEUDO_PODS, Energy, Generation, detect, pod_series
from podpower.labels.owners import (
    OWNER_METRICS,
    OwnerSource,
    owners_from_series,
    owners_from_specs,
    with_owners,
)
from podpower.labels.report import LabelReport
from podpower.labels.table import JOBS_SCHEMA, WINDOWS_SCHEMA
from podpower.sources.protocols import MetricSource

PIECE_S = 3600.0  # samples are read and counted an hour at a time, which bounds the memory
NO_IDLE = "this Kepler attributes no idle energy to pods: total is the same as dynamic"
ALL_ZERO = "all energy is 0 J: Kepler finds no hardware counters here, as on most cloud VMs; do not train on this"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels table (docs/data-contracts.md) and what to know about it."""

    table: pl.DataFrame
    report: LabelReport


def label_windows(
    source: MetricSource,
    specs: pl.DataFrame | None = None,
    *,
    start_s: float,
    end_s: float,
    step_seconds: float = 60.0,
    energy: Energy = "dynamic",
    owner_source: OwnerSource = "auto",
) -> Labels:
    """Energy of each pod in each step of [start_s, end_s], whose edges are start_s + k * step_seconds.

    `specs` is the `workload_specs` table: owners and templates as the objects tell. InvalidInput for an empty range;
    Unavailable where Kepler's series are missing.
    """
    if not (step_seconds > 0 and math.isfinite(step_seconds) and end_s - start_s >= step_seconds):
        raise InvalidInput(f"no whole step of {step_seconds:g} s between start and end: give a longer range")
    names = source.metric_names(start_s=start_s, end_s=end_s)
    generation = detect(names)
    pieces, warnings, excluded = [], list[str](), 0
    if energy == "total" and not generation.has_idle:
        warnings.append(NO_IDLE)
    for piece_start, steps in _pieces(start_s, end_s, step_seconds):
        table, dropped, said = _piece(
            source, specs, generation, names,
            start_s=piece_start, steps=steps, step_seconds=step_seconds, energy=energy, owner_source=owner_source,
        )  # fmt: skip
        pieces.append(table)
        excluded = max(excluded, dropped)
        warnings += (w for w in said if w not in warnings)
    table = pl.concat(pieces).with_columns(pl.lit(source.cluster).alias("cluster"))
    return _finished(
        table, WINDOWS_SCHEMA,
        generation=generation.name, energy=energy, excluded=excluded, warnings=warnings, column=ENERGY,
    )  # fmt: skip


def label_jobs(
    source: MetricSource,
    specs: pl.DataFrame | None = None,
    *,
    start_s: float,
    end_s: float,
    step_seconds: float = 60.0,
    energy: Energy = "dynamic",
    owner_source: OwnerSource = "auto",
) -> Labels:
    """One row a pod: all the energy it is known to have used in [start_s, end_s], its time, and mean power.

    The partial first and last steps of a pod's life are left out of energy and time alike; any other unknown step
    makes the total null.
    """
    windows = label_windows(
        source, specs, start_s=start_s, end_s=end_s, step_seconds=step_seconds, energy=energy, owner_source=owner_source
    )
    edge = [reasons.FIRST_STEP, reasons.LAST_STEP]
    inner = ~pl.col(REASON).is_in(edge).fill_null(value=False)
    known = pl.col(ENERGY).is_not_null()
    per_pod = windows.table.sort(TS).group_by("cluster", "namespace", "pod", "energy", maintain_order=True).agg(
        pl.col("workload_kind", "workload_name", "_spec_hash").last(),
        pl.col(TS).filter(known).min().sub(step_seconds).alias("start_s"),
        pl.col(TS).filter(known).max().alias("end_s"),
        (known.sum() * step_seconds).cast(pl.Float64).alias("duration_s"),
        pl.col(ENERGY).sum().alias("total_energy_j"),
        pl.when(known.sum() == 0).then(pl.col(REASON).first())
        .when((inner & ~known).any()).then(pl.lit(reasons.PARTLY_UNKNOWN)).alias(REASON),
    )  # fmt: skip
    unknown = pl.col(REASON).is_not_null()
    table = per_pod.with_columns(
        pl.when(~unknown).then("total_energy_j").alias("total_energy_j"),
        pl.when(~unknown).then(pl.col("total_energy_j") / pl.col("duration_s")).alias("avg_power_w"),
    )
    report = windows.report
    return _finished(
        table, JOBS_SCHEMA,
        generation=report.generation, energy=energy, excluded=report.excluded_pseudo_pods,
        warnings=[w for w in report.warnings if w != ALL_ZERO], column="total_energy_j",
    )  # fmt: skip


def _pieces(start_s: float, end_s: float, step_seconds: float) -> Iterator[tuple[float, int]]:
    """Start and number of steps of pieces of about PIECE_S."""
    total = int((end_s - start_s + 1e-6) // step_seconds)
    at_once = max(1, int(PIECE_S // step_seconds))
    for first in range(0, total, at_once):
        yield start_s + first * step_seconds, min(at_once, total - first)


def _piece(
    source: MetricSource,
    specs: pl.DataFrame | None,
    generation: Generation,
    names: frozenset[str],
    *,
    start_s: float,
    steps: int,
    step_seconds: float,
    energy: Energy,
    owner_source: OwnerSource,
) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Labels of some steps, how many pseudo-pods were left out, and the source's warnings."""
    end_s = start_s + steps * step_seconds
    margin_s = ENDED_AFTER_S + step_seconds
    samples = source.samples(generation.metrics(names), start_s=start_s - margin_s, end_s=end_s + margin_s)
    series = pod_series(samples.series, generation, energy=energy)
    pseudo = series["pod"].is_in(PSEUDO_PODS)
    excluded = series.filter(pseudo)["pod"].n_unique()
    series = series.filter(~pseudo)
    points = clean(samples.points.join(series.select("series_id", "series"), on="series_id").drop("series_id"))
    per_series = step_energy(points, start_s=start_s, steps=steps, step_seconds=step_seconds)
    pods = series.select("series", "namespace", "pod").unique("series")
    stepped = pod_energy(per_series.join(pods, on="series"))
    tables, said = _owners(source, specs, names, start_s=start_s - margin_s, end_s=end_s, owner_source=owner_source)
    owned = with_owners(stepped, owners=tables, step_seconds=step_seconds)
    table = owned.with_columns(
        (pl.col(ENERGY) / step_seconds).alias("avg_power_w"),
        pl.lit(step_seconds).alias("step_seconds"),
        pl.lit(energy).alias("energy"),
    )
    return table, excluded, (*samples.warnings, *said)


def _owners(
    source: MetricSource,
    specs: pl.DataFrame | None,
    names: frozenset[str],
    *,
    start_s: float,
    end_s: float,
    owner_source: OwnerSource,
) -> tuple[list[pl.DataFrame], tuple[str, ...]]:
    if owner_source not in {"prom", "k8s", "auto"}:
        raise InvalidInput(f"unknown owner source {owner_source!r}: use prom, k8s or auto")
    tables, warnings = [], tuple[str, ...]()
    if specs is not None and owner_source != "prom":
        tables.append(owners_from_specs(specs))
    present = [metric for metric in OWNER_METRICS if metric in names]
    if present and owner_source != "k8s":
        samples = source.samples(present, start_s=start_s, end_s=end_s)
        tables.append(owners_from_series(samples))
        warnings = samples.warnings
    if not tables:
        warnings = (*warnings, "no owners known: neither objects nor kube_pod_owner; each pod is its own workload")
    return tables, warnings


def _finished(
    table: pl.DataFrame,
    schema: pl.Schema,
    *,
    generation: str,
    energy: str,
    excluded: int,
    warnings: list[str],
    column: str,
) -> Labels:
    ordered = table.select(schema.names()).cast(schema).sort(*(c for c in ("namespace", "pod", TS) if c in schema))
    known = ordered[column].drop_nulls()
    all_zero = len(known) > 0 and float(known.max() or 0.0) == 0.0  # type: ignore[arg-type]
    counts: dict[str, Any] = dict(ordered[REASON].drop_nulls().value_counts(sort=True).iter_rows())
    report = LabelReport(
        generation=generation,
        energy=energy,
        pods=ordered.select("namespace", "pod").n_unique() if len(ordered) else 0,
        rows=len(ordered),
        known=len(known),
        null_reasons=counts,
        excluded_pseudo_pods=excluded,
        all_zero=all_zero,
        total_energy_j=float(known.sum()),
        warnings=(*warnings, ALL_ZERO) if all_zero else tuple(warnings),
    )
    return Labels(table=ordered, report=report)
