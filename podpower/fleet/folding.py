"""The fleet summary as the sum of its hours: current watts, hourly series, energy of the last 30 days."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from podpower.fleet import hours
from podpower.fleet.budgets import Budgets
from podpower.fleet.hours import HOURS_SCHEMA
from podpower.fleet.observed import merged
from podpower.fleet.summary import (
    DAYS,
    MOST_CHARS,
    MOST_CLUSTERS,
    MOST_GAPS,
    MOST_NAMESPACE_SERIES,
    MOST_NAMESPACES,
    MOST_WORKLOAD_SERIES,
    MOST_WORKLOADS,
    ClusterPower,
    FleetSummary,
    Gap,
    ModelStatus,
    NamespacePower,
    Others,
    Series,
    WorkloadPower,
)
from podpower.fleet.words import NO_LONGER_OBSERVED, cluster_notes
from podpower.hours import DAY_S, HOUR_S
from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.totals import PowerInterval

_KEY: Final = ("cluster", "namespace", "workload_kind", "workload_name")
_J_PER_KWH: Final = 3.6e6
_CURRENT_S: Final = 3 * HOUR_S  # labels that are older are not current
_METERED_S: Final = DAY_S  # a meter that was silent for longer is none
_DIGITS: Final = 4  # of watts
_ROUNDING: Final = 1e-9  # of a sum: what is less is no rest


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """State of a cluster that tables do not contain: the time up to which it is observed now, the error of its last
    run, and the idle watts of a vCPU of its nodes with their source.
    """

    journal_reached_s: float | None = None
    last_error: str | None = None
    idle: tuple[float, str] | None = None


@dataclass(frozen=True, kw_only=True)
class _SummaryRange:
    """Hours of the summary, for each cluster the hour of its current watts, and for each of its hours `measured_hours`,
    the time that was measured from it on.
    """

    start_s: float
    end_s: float
    current_s: Mapping[str, float]
    measured: pl.DataFrame

    def series(self, rows: pl.DataFrame) -> Series:
        """Return the watts of rows, at most one an hour, as a series over all hours of the summary."""
        places = ((rows["hour_s"] - self.start_s) / HOUR_S).round().cast(pl.Int64).to_list()
        length = round((self.end_s - self.start_s) / HOUR_S)
        columns = {}
        for name in ("measured_w", "predicted_w"):
            values: list[float | None] = [None] * length
            for place, value in zip(places, rows[name].to_list(), strict=True):
                values[place] = _rounded(value)
            columns[name] = values
        return Series(start_s=self.start_s, **columns)

    def current(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of each cluster's current hour."""
        return rows.filter(pl.col("hour_s") == pl.col("cluster").replace_strict(self.current_s, default=None))


def fold(
    tables: Iterable[pl.DataFrame],
    *,
    now_s: float,
    budgets: Budgets | None = None,
    states: Mapping[str, ClusterState] | None = None,
    model: ModelStatus | None = None,
) -> FleetSummary | None:
    """Return the last 30 days of `tables`, each of which `hours.hour_table` made; None where none has a row."""
    parts = [part.select(HOURS_SCHEMA.names()).cast(HOURS_SCHEMA) for part in tables if len(part)]
    if not parts:
        return None
    table = pl.concat(parts)
    end_s = _most(table["hour_s"]) + HOUR_S
    table = table.filter(pl.col("hour_s") >= end_s - DAYS * DAY_S)
    whole = table.filter(pl.col("level") == hours.CLUSTER)
    start_s = float(table["hour_s"].min())  # type: ignore[arg-type]
    span = _SummaryRange(
        start_s=start_s, end_s=end_s, current_s=_current_hours(whole, states), measured=_measured_hours(whole)
    )
    namespaces = _listed(table, span, level=hours.NAMESPACE, most=MOST_NAMESPACES, series=MOST_NAMESPACE_SERIES)
    workloads = _listed(table, span, level=hours.WORKLOAD, most=MOST_WORKLOADS, series=MOST_WORKLOAD_SERIES)
    running = int(span.current(whole)["workloads"].sum())
    return FleetSummary(
        written_at=datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        start_s=span.start_s,
        end_s=span.end_s,
        clusters=_clusters(whole, span, states or {}, model),
        namespaces=[_namespace(row, budgets or Budgets()) for row in namespaces.rows],
        other_namespaces=namespaces.others(whole, span, count=namespaces.count - len(namespaces.rows)),
        workloads=[_workload(row) for row in workloads.rows],
        other_workloads=workloads.others(whole, span, count=running - workloads.running),
        model=model,
    )


def _measured_hours(whole: pl.DataFrame) -> pl.DataFrame:
    """Return how many hours were measured from each hour of a cluster on. Of the running hour, and of one with an
    outage, a part was.
    """
    part = (pl.col("energy_j") / pl.col("measured_w") / HOUR_S).fill_null(0.0)
    from_it_on = part.cum_sum(reverse=True).over("cluster").alias("measured_hours")
    return whole.sort("hour_s").select("cluster", "hour_s", from_it_on)


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The largest of one level: `rows` with their energies and their current hour, of `count` in all, `running`
    of which are in their cluster's current hour; and the sums of their watts by `hours`.
    """

    rows: Sequence[dict[str, Any]]
    count: int
    running: int
    hours: pl.DataFrame

    def others(self, whole: pl.DataFrame, span: _SummaryRange, *, count: int) -> Others:
        """Return what is in the sums of the clusters and not listed."""
        sums = whole.group_by("hour_s").agg(_sum_of_known("energy_j", "measured_w", "predicted_w"))
        beside = sums.join(self.hours, on="hour_s", how="left", suffix="_listed")
        rest = beside.select("hour_s", *(_rest(name) for name in ("energy_j", "measured_w", "predicted_w")))
        kwh = None if rest["energy_j"].null_count() == len(rest) else float(rest["energy_j"].sum()) / _J_PER_KWH
        now = span.current(whole)
        return Others(
            count=max(0, count),
            measured_w=_beside(now["measured_w"], self.rows, "measured_w"),
            predicted_w=_beside(now["predicted_w"], self.rows, "predicted_w"),
            kwh=_rounded(kwh),
            series=span.series(rest),
        )


def _listed(table: pl.DataFrame, span: _SummaryRange, *, level: str, most: int, series: int) -> _Listed:
    """Return the largest of a level by their energy in the range, measured where it is known, else predicted."""
    key = _KEY[:2] if level == hours.NAMESPACE else _KEY
    rows = table.filter(pl.col("level") == level)
    sums = _energies(rows, key, span).sort("size", *key, descending=[True, *(False for _ in key)])
    chosen = sums.head(most)
    of_chosen = rows.join(chosen.select(key), on=key, how="semi")
    now = chosen.join(span.current(of_chosen).drop("level"), on=key, how="left", suffix="_now", maintain_order="left")
    found = [dict(row) for row in now.iter_rows(named=True)]
    largest = chosen.head(series).select(key)
    shown = rows.join(largest, on=key, how="semi").partition_by(key, as_dict=True)
    for row in found:
        own = shown.get(tuple(row[name] for name in key))
        row["series"] = None if own is None else span.series(own)
    return _Listed(
        rows=found,
        count=len(sums),
        running=int(now["hour_s"].count()),
        hours=of_chosen.group_by("hour_s").agg(_sum_of_known("energy_j", "measured_w", "predicted_w")),
    )


def _energies(rows: pl.DataFrame, key: Sequence[str], span: _SummaryRange) -> pl.DataFrame:
    """Return the energy of each key over all hours, and the hours that were measured since its first one."""
    sums = rows.group_by(key).agg(
        pl.coalesce("energy_j", "predicted_j").sum().alias("size"),
        _sum_of_known("energy_j").alias("range_j"),
        _sum_of_known("predicted_j").alias("range_predicted_j"),
        pl.col("hour_s").filter(pl.col("energy_j").is_not_null()).min(),
    )
    since = sums.join(span.measured, on=["cluster", "hour_s"], how="left").drop("hour_s")
    return since.with_columns(pl.col("measured_hours").fill_null(0.0))


def _power(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of Power, of a row with the sums of `_energies` and the columns of the current hour."""
    ends = (row["low_w"], row["high_w"])
    known = None not in ends and row["predicted_w"] is not None
    return {
        "measured_w": _rounded(row["measured_w"]),
        "measured_share": _rounded(row["measured_share"]),
        "predicted_w": _rounded(row["predicted_w"]),
        "predicted_interval": PowerInterval(level=DEFAULT_LEVEL, avg_power_w=_ends(*ends)) if known else None,
        "kwh": _kwh(row["range_j"]),
        "measured_hours": _rounded(row["measured_hours"]),
        "predicted_kwh": _kwh(row["range_predicted_j"]),
    }


def _namespace(row: Mapping[str, Any], budgets: Budgets) -> NamespacePower:
    budget_w, source = budgets.of(row["cluster"], row["namespace"], annotated_w=row["budget_w"])
    return NamespacePower(
        **_power(row),
        cluster=row["cluster"],
        namespace=row["namespace"],
        workloads=row["workloads"] or 0,
        pods=_rounded(row["pods"]) or 0.0,
        bases={one["basis"]: one["workloads"] for one in row["bases"] or ()},
        model_version=row["model_version"],
        budget_w=budget_w,
        budget_source=source,
        series=row["series"],
    )


def _workload(row: Mapping[str, Any]) -> WorkloadPower:
    return WorkloadPower(
        **_power(row),
        **{name: row[name] for name in _KEY},
        pods=_rounded(row["pods"]) or 0.0,
        basis=row["basis"],
        model_version=row["model_version"],
        series=row["series"],
    )


def _clusters(
    whole: pl.DataFrame, span: _SummaryRange, states: Mapping[str, ClusterState], model: ModelStatus | None
) -> list[ClusterPower]:
    """Return every cluster with a row or a state, by name. Those that are configured have a state; without any, those
    with current watts count as configured.
    """
    sums = _energies(whole, ["cluster"], span)
    now = sums.join(span.current(whole), on="cluster", how="left")
    rows = {row["cluster"]: row for row in now.iter_rows(named=True)}
    own = {str(name): part for (name,), part in whole.partition_by("cluster", as_dict=True).items()}
    names = sorted(rows.keys() | states.keys())[:MOST_CLUSTERS]
    empty = whole.clear()
    return [
        _cluster(
            name,
            row=rows.get(name),
            own=own.get(name, empty),
            span=span,
            model=model,
            state=states.get(name, ClusterState()),
            is_configured=name in (states or span.current_s),
        )
        for name in names
    ]


def _cluster(
    name: str,
    *,
    row: Mapping[str, Any] | None,
    own: pl.DataFrame,
    span: _SummaryRange,
    state: ClusterState,
    is_configured: bool,
    model: ModelStatus | None,
) -> ClusterPower:
    metered, gaps = _is_metered(own), _gaps(own)
    reached = [state.journal_reached_s, *own["journal_reached_s"].drop_nulls().to_list()]
    labelled = own["last_label_s"].drop_nulls()
    nothing = dict.fromkeys(("measured_w", "measured_share", "predicted_w", "predicted_interval", "kwh"))
    return ClusterPower(
        **(_power(row) if row else {**nothing, "measured_hours": 0.0, "predicted_kwh": None}),
        cluster=name,
        metered=metered,
        hour_s=span.current_s.get(name),
        last_label_s=_most(labelled) if len(labelled) else None,
        journal_reached_s=max((ts for ts in reached if ts is not None), default=None),
        pods=_rounded(row["pods"] if row else None) or 0.0,
        workloads=(row["workloads"] if row else None) or 0,
        gaps=gaps[-MOST_GAPS:],
        gap_count=len(gaps),
        last_error=state.last_error[:MOST_CHARS] if state.last_error else None,
        notes=cluster_notes(name, metered=metered, model=model) if is_configured else [NO_LONGER_OBSERVED],
        series=span.series(own),
        configured=is_configured,
        idle_w_per_vcpu=state.idle[0] if state.idle else None,
        idle_source=state.idle[1][:MOST_CHARS] if state.idle else None,
    )


def _current_hours(whole: pl.DataFrame, states: Mapping[str, ClusterState] | None) -> dict[str, float]:
    """Return the hour of each cluster's current watts: the last one with labels, unless it is too long ago. A cluster
    that is configured no longer draws nothing; of one without a recent row it is not known.
    """
    found, end_s = {}, _most(whole["hour_s"])
    for name, last_s, labelled_s in (
        whole.group_by("cluster")
        .agg(pl.col("hour_s").max(), pl.col("hour_s").filter(pl.col("energy_j").is_not_null()).max().alias("labelled"))
        .iter_rows()
    ):
        if (states and name not in states) or last_s < end_s - _CURRENT_S:
            continue
        recent = labelled_s is not None and labelled_s >= last_s - _CURRENT_S
        found[name] = labelled_s if recent else last_s
    return found


def _is_metered(own: pl.DataFrame) -> bool | None:
    """Return whether a cluster was metered in the last day with an answer; None where no hour has one."""
    known = own.drop_nulls("metered")
    if known.is_empty():
        return None
    return bool(known.filter(pl.col("hour_s") > _most(known["hour_s"]) - _METERED_S)["metered"].any())


def _gaps(own: pl.DataFrame) -> list[Gap]:
    """Return the gaps of a cluster, oldest first; parts of one gap in several hours are one."""
    every = own.select("gaps").explode("gaps").drop_nulls().unnest("gaps").unique()
    return merged(Gap(start_s=start_s, end_s=end_s, reason=reason) for start_s, end_s, reason in every.iter_rows())


def _sum_of_known(*names: str) -> pl.Expr:
    """Expression: the sum of columns, null where no value is known."""
    return pl.when(pl.col(*names).count() > 0).then(pl.col(*names).sum())


def _rest(name: str) -> pl.Expr:
    rest = pl.col(name) - pl.col(f"{name}_listed").fill_null(0.0)
    return pl.when(rest.abs() > _ROUNDING * pl.col(name).abs()).then(rest.clip(0.0)).otherwise(rest * 0.0).alias(name)


def _beside(whole: pl.Series, rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return what is in the sum of the clusters beside these rows; None where nothing is known."""
    known = [float(value) for value in whole.drop_nulls()]
    rest = sum(known) - sum(row[name] or 0.0 for row in rows)
    return _rounded(max(0.0, rest) if rest > _ROUNDING * sum(known) else 0.0) if known else None


def _most(values: pl.Series) -> float:
    return float(values.max())  # type: ignore[arg-type]


def _ends(low_w: float, high_w: float) -> tuple[float, float]:
    return float(f"{low_w:.{_DIGITS}g}"), float(f"{high_w:.{_DIGITS}g}")


def _kwh(energy_j: float | None) -> float | None:
    return _rounded(None if energy_j is None else energy_j / _J_PER_KWH)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
