"""The contribution of one hour to the fleet summary, from that hour's tables and the served model only.

HOURS_SCHEMA has one row for each cluster, and for the largest namespaces and workloads, so that an hour stays small
whatever runs in it. Unknown energy is null, never 0.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from podpower.datasets.limits import MAX_POWER_W
from podpower.fleet.summary import MOST_CHARS, Gap
from podpower.hours import HOUR_S
from podpower.labels import reasons
from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.predictor import Prediction, Predictor
from podpower.model.totals import Summand, shared_correlation, total_power
from podpower.specs.ndjson import decode_request
from podpower.specs.requests import InferenceRequest

CLUSTER, NAMESPACE, WORKLOAD = "cluster", "namespace", "workload"  # values of `level`
MOST_ROWS: Final = 1_000  # namespaces of an hour, and workloads: the largest of all clusters
_PREDICTED_AT_A_TIME: Final = 2_000
# Of steps with these reasons only the known seconds are those of a pod that lives; of all others, the whole step.
_ENDS_OF_LIVES: Final = (reasons.FIRST_STEP, reasons.LAST_STEP, reasons.SHORT_LIVED)
_NAMES: Final = ("namespace", "workload_kind", "workload_name")
_PER_UNIT: Final = 1_000_000  # microjoules and microseconds are added up: a sum of integers has no order

HOURS_SCHEMA: Final = pl.Schema(
    {
        "hour_s": pl.Float64(),
        "level": pl.String(),
        "cluster": pl.String(),
        "namespace": pl.String(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "workloads": pl.Int64(),
        "pods": pl.Float64(),
        "energy_j": pl.Float64(),
        "measured_w": pl.Float64(),
        "measured_share": pl.Float64(),
        "predicted_j": pl.Float64(),
        "predicted_w": pl.Float64(),
        "low_w": pl.Float64(),
        "high_w": pl.Float64(),
        "basis": pl.String(),
        "bases": pl.List(pl.Struct({"basis": pl.String(), "workloads": pl.Int64()})),
        "model_version": pl.String(),
        "budget_w": pl.Float64(),
        "metered": pl.Boolean(),
        "last_label_s": pl.Float64(),
        "journal_reached_s": pl.Float64(),
        "gaps": pl.List(pl.Struct({"start_s": pl.Float64(), "end_s": pl.Float64(), "reason": pl.String()})),
    }
)


@dataclass(frozen=True, kw_only=True)
class ClusterHour:
    """The stored tables of one hour of a cluster. None: there is no such table.

    `has_meter` is false where nothing is ever labelled. `labels` and `jobs` are queries, because an hour of 50,000 pods
    has three million labels. `journal_reached_s` is the time up to which the cluster was observed (of a past hour, its
    end is kept), `gaps` are those in the hour, `budgets_w` the budgets that namespaces are annotated with.
    """

    cluster: str
    has_meter: bool = True
    specs: pl.DataFrame | None = None
    labels: pl.LazyFrame | None = None
    jobs: pl.LazyFrame | None = None
    journal_reached_s: float | None = None
    gaps: Sequence[Gap] = ()
    budgets_w: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Energy of each workload (`_NAMES`, `energy_j`, `share`), over `covered_s` seconds with a known label."""

    table: pl.DataFrame
    covered_s: float
    last_label_s: float | None
    metered: bool | None


@dataclass(kw_only=True)
class _Predicted:
    """Sums of one workload's specs: `expected_w`, `low_w` and `high_w` of its `pods` (None: no model)."""

    pods: float = 0.0
    expected_w: float = 0.0
    low_w: float = 0.0
    high_w: float = 0.0
    basis: str | None = None
    most_pods: float = 0.0
    summands: list[Summand] = field(default_factory=list)


def hour_table(
    clusters: Iterable[ClusterHour], predictor: Predictor | None, *, start_s: float, now_s: float
) -> pl.DataFrame:
    """Return the contribution of the hour that begins at `start_s`, in HOURS_SCHEMA; clusters of which there is no
    table have no row. Of the running hour, the part until `now_s` counts.
    """
    parts = [
        _cluster_rows(one, predictor, start_s=start_s, now_s=now_s)
        for one in clusters
        if one.specs is not None or one.labels is not None
    ]
    if not parts:
        return pl.DataFrame(schema=HOURS_SCHEMA)
    table = pl.concat(parts)
    size = pl.max_horizontal(pl.col("energy_j"), pl.col("predicted_j")).fill_null(0.0)
    largest = [
        table.filter(pl.col("level") == level).sort(size, *_NAMES, descending=[True, False, False, False])
        for level in (CLUSTER, NAMESPACE, WORKLOAD)
    ]
    return pl.concat([largest[0], *(part.head(MOST_ROWS) for part in largest[1:])])


def _cluster_rows(one: ClusterHour, predictor: Predictor | None, *, start_s: float, now_s: float) -> pl.DataFrame:
    measured = _measured(one, start_s=start_s)
    end_s = min(start_s + HOUR_S, now_s)
    if measured.covered_s > 0 and measured.last_label_s is not None and now_s < start_s + HOUR_S:
        end_s = measured.last_label_s  # of the running hour, the same time is predicted as was measured
    elapsed_s = max(end_s - start_s, 1.0)
    predicted = _predicted(one, predictor, start_s=start_s, end_s=end_s)
    rows = _workload_rows(measured, predicted, elapsed_s=elapsed_s, known=predictor is not None)
    version = None if predictor is None else predictor.version
    shared = shared_correlation(0 if predictor is None else predictor.model.training_size["workloads"])
    common = {"hour_s": start_s, "cluster": one.cluster, "model_version": version}
    of_namespace: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_namespace[row["namespace"]].append(row)
    sums = [
        {**_sum(part, predicted, shared=shared), "level": NAMESPACE, "namespace": name,
         "budget_w": one.budgets_w.get(name)}
        for name, part in of_namespace.items()
    ]  # fmt: skip
    whole = {
        **_sum(rows, predicted, shared=shared),
        "level": CLUSTER,
        "metered": measured.metered,
        "last_label_s": measured.last_label_s,
        "journal_reached_s": None if one.journal_reached_s is None else min(one.journal_reached_s, start_s + HOUR_S),
        "gaps": [{"start_s": g.start_s, "end_s": g.end_s, "reason": g.reason[:MOST_CHARS]} for g in one.gaps],
    }
    return pl.DataFrame([common | row for row in (whole, *sums, *rows)], schema=HOURS_SCHEMA)


def _measured(one: ClusterHour, *, start_s: float) -> _Measured:
    """Energy of each workload in the hour. Unknown seconds of a living pod count with the mean power of its workload; a
    pod that no step knows, with the energy of its whole run.
    """
    nothing = pl.DataFrame(schema={**dict.fromkeys(_NAMES, pl.String()), "energy_j": pl.Float64, "share": pl.Float64})
    if one.labels is None:
        metered = None if one.has_meter else False
        return _Measured(table=nothing, covered_s=0.0, last_label_s=None, metered=metered)
    power, known = pl.col("avg_power_w"), pl.col("known_s").fill_null(0.0)
    usable = power.is_not_null() & (power <= MAX_POWER_W)
    known = pl.when(usable).then(known).otherwise(0.0)
    life = pl.when(pl.col("reason").is_in(_ENDS_OF_LIVES)).then(known).otherwise(pl.col("step_seconds"))
    joules = pl.when(usable).then(power * known).otherwise(0.0)
    steps = one.labels.select(*_names(), "pod", "ts", "step_seconds", *_integers(known=known, life=life, joules=joules))
    sums = pl.col("known", "life", "joules").sum()
    pods, times = pl.collect_all(
        [
            steps.group_by(*_NAMES, "pod").agg(sums),
            steps.group_by("ts").agg(pl.col("known", "joules").sum(), pl.col("step_seconds").max()),
        ],
        engine="streaming",
    )
    covered = times.filter(pl.col("known") > 0).sort("ts")
    if covered.is_empty() or covered["joules"].sum() == 0:
        # Zeros throughout are no measurement; neither is an hour without any series. Unknown steps are an outage.
        unmetered = len(covered) > 0 or times.is_empty()
        return _Measured(table=nothing, covered_s=0.0, last_label_s=None, metered=False if unmetered else None)
    pods = _with_short_runs(pods, one.jobs, start_s=start_s)
    table = pods.group_by(*_NAMES).agg(sums / _PER_UNIT).filter(pl.col("known") > 0)
    whole = pl.max_horizontal("life", "known")
    return _Measured(
        table=table.select(
            *_NAMES,
            (pl.col("joules") * whole / pl.col("known")).alias("energy_j"),
            (pl.col("known") / whole).alias("share"),
        ),
        covered_s=float(covered["step_seconds"].sum()),
        last_label_s=float(covered["ts"].max()),  # type: ignore[arg-type]
        metered=True,
    )


def _with_short_runs(pods: pl.DataFrame, jobs: pl.LazyFrame | None, *, start_s: float) -> pl.DataFrame:
    """Add the pods of which no step is known, and which lived inside the hour, with the energy of their whole run."""
    if jobs is None:
        return pods
    seconds, share = pl.col("duration_s").fill_null(0.0), pl.col("known_share").fill_null(1.0)
    ended = jobs.filter(pl.col("total_energy_j").is_not_null() & (pl.col("start_s") >= start_s) & (seconds > 0))
    columns = _integers(known=seconds * share, life=seconds, joules=pl.col("total_energy_j") * share)
    runs = ended.select(*_names(), "pod", *columns).collect()
    unknown = pods.filter(pl.col("known") == 0)
    added = runs.filter(pl.col("known") > 0).join(unknown, on=[*_NAMES, "pod"], how="semi", nulls_equal=True)
    rest = pods.join(added, on=[*_NAMES, "pod"], how="anti", nulls_equal=True)
    return pl.concat([rest, added.select(rest.columns)])


def _integers(**amounts: pl.Expr) -> list[pl.Expr]:
    """Return amounts in millionths of their unit. Threads that add up floats in another order get another sum."""
    return [(amount * _PER_UNIT).round().cast(pl.Int64).alias(name) for name, amount in amounts.items()]


def _names() -> list[pl.Expr]:
    """Names of workloads. A pod that a Node owns is a workload of its own: it shares no template with the others."""
    static = (pl.col("workload_kind") == "Node") & pl.col("pod").is_not_null()
    return [
        pl.col("namespace").fill_null(""),
        pl.when(static).then(pl.lit("Pod")).otherwise(pl.col("workload_kind")).fill_null("").alias("workload_kind"),
        pl.when(static).then(pl.col("pod")).otherwise(pl.col("workload_name")).fill_null("").alias("workload_name"),
    ]


def _predicted(
    one: ClusterHour, predictor: Predictor | None, *, start_s: float, end_s: float
) -> dict[tuple[str, str, str], _Predicted]:
    """Predictions of the specs in force, times the pods that ran on average from `start_s` to `end_s`."""
    found: dict[tuple[str, str, str], _Predicted] = defaultdict(_Predicted)
    for requests, running in _running(one.specs, start_s=start_s, end_s=end_s):
        predictions = [None] * len(requests) if predictor is None else predictor.predict(requests)
        for prediction, (*name, count) in zip(predictions, running.iter_rows(), strict=True):
            workload = found[*name]
            workload.pods += count
            if prediction is not None:
                _add(workload, prediction, count)
    return found


def _add(workload: _Predicted, prediction: Prediction, pods: float) -> None:
    """Add the prediction of one pod, times their number: pods of one workload draw alike."""
    low_w, high_w = prediction.interval.avg_power_w
    expected_w = prediction.expected_avg_power_w
    workload.expected_w += expected_w * pods
    workload.low_w += min(low_w, expected_w) * pods
    workload.high_w += max(high_w, expected_w) * pods
    if pods > workload.most_pods:
        workload.most_pods, workload.basis = pods, prediction.basis
    workload.summands.append(
        Summand(
            power_w=prediction.pred_avg_power_w,
            expected_w=expected_w,
            intervals=[(interval.level, interval.avg_power_w) for interval in prediction.intervals],
            pods=pods,
            image_key=prediction.image_key,
        )
    )


def _running(
    specs: pl.DataFrame | None, *, start_s: float, end_s: float
) -> Iterator[tuple[list[InferenceRequest], pl.DataFrame]]:
    """Yield the requests of specs whose pods ran, a bounded number at a time, and a table of their names and the mean
    number of these pods.
    """
    if specs is None or end_s <= start_s:
        return
    pod = pl.element().struct
    seconds = pl.min_horizontal(pod.field("to_s").fill_null(end_s), pl.lit(end_s)) - pl.max_horizontal(
        pod.field("from_s"), pl.lit(start_s)
    )
    counted = (
        specs.with_columns(pod=pl.col("pods").list.first().struct.field("pod"))
        .select(
            "request",
            *_names(),
            (pl.col("pods").list.eval(pl.max_horizontal(seconds, pl.lit(0.0))).list.sum() / (end_s - start_s)).alias(
                "n"
            ),
        )
        .filter(pl.col("n") > 0)
    )
    for part in counted.iter_slices(_PREDICTED_AT_A_TIME):
        yield [decode_request(line.encode()) for line in part["request"]], part.drop("request")


def _workload_rows(
    measured: _Measured, predicted: dict[tuple[str, str, str], _Predicted], *, elapsed_s: float, known: bool
) -> list[dict[str, Any]]:
    energies = {row[:3]: row[3:] for row in measured.table.iter_rows()}
    rows = []
    for key in sorted(energies.keys() | predicted.keys()):
        energy_j, share = energies.get(key, (None, None))
        sums = predicted.get(key)
        row: dict[str, Any] = {"level": WORKLOAD, **dict(zip(_NAMES, key, strict=True)), "workloads": 1}
        row |= {"pods": sums.pods if sums else 0.0, "energy_j": energy_j, "measured_share": share}
        row["measured_w"] = None if energy_j is None else energy_j / measured.covered_s
        if sums and known:
            row |= {"predicted_w": sums.expected_w, "predicted_j": sums.expected_w * elapsed_s, "basis": sums.basis}
            row |= {"low_w": sums.low_w, "high_w": sums.high_w}
        rows.append(row)
    return rows


def _sum(
    rows: Sequence[dict[str, Any]], predicted: dict[tuple[str, str, str], _Predicted], *, shared: float
) -> dict[str, Any]:
    """Add up workloads. Expected watts add up; their interval is that of the sum."""
    bases: dict[str, int] = defaultdict(int)
    summands: list[Summand] = []
    for row in rows:
        if basis := row.get("basis"):
            bases[basis] += 1
            summands += predicted[row["namespace"], row["workload_kind"], row["workload_name"]].summands
    energy_j, measured_w = _total(rows, "energy_j"), _total(rows, "measured_w")
    whole_j = sum(row["energy_j"] / row["measured_share"] for row in rows if row.get("energy_j"))
    found: dict[str, Any] = {
        "workloads": len(rows),
        "pods": sum(row["pods"] for row in rows),
        "energy_j": energy_j,
        "measured_w": measured_w,
        "measured_share": energy_j / whole_j if energy_j and whole_j else None,
        "predicted_j": _total(rows, "predicted_j"),
        "predicted_w": _total(rows, "predicted_w"),
        "bases": [{"basis": basis, "workloads": count} for basis, count in sorted(bases.items())],
    }
    if summands:
        total = total_power(summands, level=DEFAULT_LEVEL, shared=shared)
        found |= dict(zip(("low_w", "high_w"), total.interval.avg_power_w, strict=True))
    return found


def _total(rows: Iterable[dict[str, Any]], name: str) -> float | None:
    known = [row[name] for row in rows if row.get(name) is not None]
    return sum(known) if known else None
