"""The fleet summary as texts and coordinates, of all clusters, of one, or of one namespace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar
from urllib.parse import urlencode

from podpower.fleet.freshness import ago, stale
from podpower.fleet.summary import (
    ClusterPower,
    FleetSummary,
    Gap,
    ModelStatus,
    NamespacePower,
    Others,
    Power,
    Series,
    WorkloadPower,
)
from podpower.impact import tables, units
from podpower_serving.pages.plots import Lines, lines_of

_P = TypeVar("_P", bound=Power)

SHOWN, FOLDED = 25, 475
_MOST_GAPS: Final = 10
_STALE_SUMMARY_S: Final = 3 * 3600.0
_WIDE, _HIGH = 640.0, 160.0
_SPARK_WIDE, _SPARK_HIGH = 140.0, 26.0


@dataclass(frozen=True, kw_only=True)
class PowerRow:
    """Figures of a namespace or a workload as texts. `link` leads to what it contains."""

    name: str
    remark: str
    measured: str
    predicted: str
    error: str
    interval: str
    kwh: str
    pods: str
    basis: str
    link: str | None
    spark: Lines | None
    over_budget: bool = False


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """One cluster: its figures, its hours, and what is wrong with it."""

    name: str
    link: str
    row: PowerRow
    lines: Lines | None
    fresh: Sequence[str]
    warnings: Sequence[str]
    notes: Sequence[str]
    gaps: Sequence[str]
    more_gaps: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that are shown and folded, the largest first, and what is beyond them in a sentence."""

    shown: Sequence[PowerRow]
    folded: Sequence[PowerRow]
    others: str | None


@dataclass(frozen=True, kw_only=True)
class View:
    """The page. `namespace` is the plot of the one that is chosen."""

    written: str
    warnings: Sequence[str]
    period: str
    cluster: str | None
    namespace: str | None
    clusters: Sequence[ClusterView]
    lines: Lines | None
    namespaces: Rows
    workloads: Rows
    model: ModelStatus | None
    trained: str


def view_of(summary: FleetSummary, *, cluster: str | None, namespace: str | None, now_s: float) -> View:
    """Return the page of a summary, of one cluster or namespace where they are given."""

    def wanted(one: ClusterPower | NamespacePower | WorkloadPower) -> bool:
        return (cluster is None or one.cluster == cluster) and (
            namespace is None or getattr(one, "namespace", namespace) == namespace
        )

    clusters = [one for one in summary.clusters if wanted(one)]
    namespaces = [one for one in summary.namespaces if wanted(one)]
    workloads = [one for one in summary.workloads if wanted(one)]
    everything = cluster is None and namespace is None
    chosen = namespaces[0].series if namespace is not None and len(namespaces) == 1 else None
    written_s = _seconds(summary.written_at)
    late = written_s is not None and now_s - written_s > _STALE_SUMMARY_S
    return View(
        written=_when(summary.written_at, now_s),
        warnings=["The fleet summary is old: materialize fleet_summary."] if late else [],
        period=f"{_minute(summary.start_s)} to {_minute(summary.end_s)} UTC",
        cluster=cluster,
        namespace=namespace,
        clusters=[_cluster(one, summary, now_s) for one in clusters] if namespace is None else [],
        lines=_lines(chosen, summary, wide=True) if chosen else None,
        namespaces=_rows([_namespace(one, summary) for one in _largest(namespaces)],
            summary.other_namespaces if everything else None, "namespaces"),
        workloads=_rows([_workload(one, summary) for one in _largest(workloads)],
            summary.other_workloads if everything else None, "workloads"),
        model=summary.model,
        trained=_when(summary.model.trained_at, now_s) if summary.model else "",
    )  # fmt: skip


def _largest(listed: Sequence[_P]) -> list[_P]:
    return sorted(listed, key=lambda one: -(one.measured_w or one.predicted_w or 0.0))


def _rows(rows: Sequence[PowerRow], others: Others | None, noun: str) -> Rows:
    sentence = None
    if others is not None and others.count:
        sentence = f"{others.count} other {noun} together: measured {units.watts(others.measured_w)}, predicted "
        sentence += f"{units.watts(others.predicted_w)}, {units.kwh(others.kwh)}."
    return Rows(shown=rows[:SHOWN], folded=rows[SHOWN : SHOWN + FOLDED], others=sentence)


def _cluster(one: ClusterPower, summary: FleetSummary, now_s: float) -> ClusterView:
    warnings: list[str] = []
    if one.configured:
        warnings = stale(one.journal_reached_s, one.last_label_s, metered=one.metered, now_s=now_s)
    if one.metered is False:
        warnings = [*warnings, "it has no meter: Kepler reads 0 J or does not exist"]
    if one.last_error:
        warnings = [*warnings, f"last run: {one.last_error}"]
    row = _power(one, one.cluster, remark=tables.counted(one.workloads, "workload"), pods=one.pods)
    times = (("observed", one.journal_reached_s), ("labelled", one.last_label_s))
    return ClusterView(
        name=one.cluster,
        link=_link(one.cluster),
        row=row,
        lines=_lines(one.series, summary, wide=True, gaps=one.gaps),
        fresh=[f"{name} {ago(now_s - at)} ago" for name, at in times if at is not None],
        warnings=warnings,
        notes=[*one.notes, *_idle(one)],
        gaps=[_gap(gap) for gap in reversed(one.gaps[-_MOST_GAPS:])],
        more_gaps=max(0, one.gap_count - min(len(one.gaps), _MOST_GAPS)),
    )


def _idle(one: ClusterPower) -> list[str]:
    if one.idle_w_per_vcpu is None:
        return []
    return [f"idle: {one.idle_w_per_vcpu:.3g} W of a vCPU, in no workload ({one.idle_source or 'measured'})"]


def _namespace(one: NamespacePower, summary: FleetSummary) -> PowerRow:
    watts = one.measured_w if one.measured_w is not None else one.predicted_w
    over = one.budget_w is not None and watts is not None and watts > one.budget_w
    remark = tables.counted(one.workloads, "workload")
    if one.budget_w is not None:
        remark += f"; {'over its' if over else 'within its'} budget of {units.watts(one.budget_w)}"
    return _power(
        one, f"{one.cluster}/{one.namespace}", remark=remark, pods=one.pods, over_budget=over,
        link=_link(one.cluster, one.namespace), spark=_lines(one.series, summary),
        basis=", ".join(f"{count} {basis}" for basis, count in sorted(one.bases.items())[:4]),
    )  # fmt: skip


def _workload(one: WorkloadPower, summary: FleetSummary) -> PowerRow:
    return _power(
        one, f"{one.namespace}/{one.workload_name}", remark=f"{one.workload_kind} on {one.cluster}", pods=one.pods,
        basis=one.basis or "", spark=_lines(one.series, summary),
    )  # fmt: skip


def _power(
    one: Power, name: str, *, remark: str, pods: float, basis: str = "", link: str | None = None,
    spark: Lines | None = None, over_budget: bool = False,
) -> PowerRow:  # fmt: skip
    interval = {"avg_power_w": one.predicted_interval.avg_power_w} if one.predicted_interval else None
    return PowerRow(
        name=name,
        remark=remark,
        measured=units.watts(one.measured_w),
        predicted=units.watts(one.predicted_w),
        error=_error(one.measured_w, one.predicted_w),
        interval=tables.interval(interval),
        kwh=units.kwh(one.kwh),
        pods=f"{pods:.3g}",
        basis=basis,
        link=link,
        spark=spark,
        over_budget=over_budget,
    )


def _error(measured_w: float | None, predicted_w: float | None) -> str:
    """Return how far the prediction is from the measurement.

    >>> _error(100.0, 90.0), _error(None, 1.0), _error(0.0, 1.0)
    ('-10 %', '-', '-')
    """
    if measured_w is None or predicted_w is None or measured_w <= 0:
        return units.UNKNOWN
    share = 100.0 * (predicted_w - measured_w) / measured_w
    return f"{share:+.0f} %" if abs(share) < 999.5 else f"x {predicted_w / measured_w:.3g}"


def _lines(
    series: Series | None, summary: FleetSummary, *, wide: bool = False, gaps: Sequence[Gap] = ()
) -> Lines | None:
    if series is None:
        return None
    width, height = (_WIDE, _HIGH) if wide else (_SPARK_WIDE, _SPARK_HIGH)
    return lines_of(series, start_s=summary.start_s, end_s=summary.end_s, width=width, height=height, gaps=gaps)


def _link(cluster: str, namespace: str | None = None) -> str:
    return "/fleet?" + urlencode({"cluster": cluster, **({"namespace": namespace} if namespace else {})})


def _gap(gap: Gap) -> str:
    return f"{_minute(gap.start_s)} to {_minute(gap.end_s)} UTC ({ago(gap.end_s - gap.start_s)}): {gap.reason}"


def _minute(ts: float) -> str:
    try:
        return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return units.UNKNOWN


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _when(text: str, now_s: float) -> str:
    """Return a time with its age."""
    at = _seconds(text)
    return text[:40] if at is None else f"{_minute(at)} UTC, {ago(now_s - at)} ago"
