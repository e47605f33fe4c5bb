"""Predictions as the page shows them: the largest workloads with their evidence, the rest folded, then counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from podpower.difference import tables as difference_tables
from podpower.difference.changes import Difference
from podpower.impact import tables, units
from podpower.impact.assessment import Assessment, Inputs
from podpower.impact.page import sentence
from podpower.model.predictor import Explanation, Prediction, Predictor
from podpower.specs.documents import Rejected
from podpower.specs.quoting import quoted
from podpower_serving.pages.plots import WIDTH, Bar, Scale, scale_of, ticks_of

SHOWN, FOLDED = 20, 200  # rows with evidence, and rows below them
_MOST_LINES, _MOST_NEIGHBOURS, _LEAST_SHARE = 20, 5, 0.005
_MOST_NAME: Final = 253


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Sums over workloads as texts; `bar` draws the interval."""

    watts: str
    interval: str
    bar: Bar | None
    kwh: str
    cost: str | None
    co2e: str | None
    pods: int


@dataclass(frozen=True, kw_only=True)
class Row(Amounts):
    """One workload as texts."""

    name: str
    kind: str
    basis: str
    evidence: str
    notes: Sequence[str]
    neighbours: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Predictions of a manifest as a page shows them. `left_out` counts the rows that are in the total only, `total` is
    None where there is one row.
    """

    sentence: str
    figures: Sequence[tuple[str, str, str]]
    total: Amounts | None
    width: float
    ticks: Sequence[str]
    rows: Sequence[Row]
    folded: Sequence[Row]
    left_out: int
    left_out_w: str
    warnings: Sequence[str]
    errors: Sequence[str]
    skipped: Sequence[str]
    inputs: Sequence[str]
    model_version: str
    label_source: str | None


def result_of(predictor: Predictor, found: Assessment, inputs: Inputs, *, warnings: Sequence[str] = ()) -> Result:
    """Return an assessment as texts and coordinates, with warnings; the evidence of the largest workloads is looked up
    here.
    """
    predictions = found.predictions
    order = sorted(range(len(predictions)), key=lambda place: -(predictions[place].total_avg_power_w or 0.0))
    listed = order[: SHOWN + FOLDED]
    largest = order[:SHOWN]
    explained = predictor.explain([found.requests[place] for place in largest]) if largest else []
    evidence = dict(zip(largest, explained, strict=True))
    total = found.total
    intervals = [i.avg_power_w for place in listed if (i := predictions[place].total_interval)]
    scale = scale_of([*intervals, *([total.total_interval.avg_power_w] if total.total_interval else [])])
    currency = total.currency if isinstance(total.currency, str) else ""
    rows = [_row(predictions[place], evidence.get(place), scale, currency) for place in listed]
    rest_w = sum(predictions[place].total_avg_power_w or 0.0 for place in order[SHOWN + FOLDED :])
    plain = msgspec.to_builtins(total)
    return Result(
        sentence=sentence(plain),
        figures=_figures(plain, inputs),
        total=_total_amounts(found, scale) if len(predictions) > 1 else None,
        width=WIDTH,
        ticks=ticks_of(scale),
        rows=rows[:SHOWN],
        folded=rows[SHOWN:],
        left_out=max(0, len(order) - SHOWN - FOLDED),
        left_out_w=units.watts(rest_w),
        warnings=[*tables.total_lines(plain), *warnings],
        errors=error_lines(found.errors),
        skipped=_bounded([f"{quoted(s.kind)}/{quoted(s.name)}: {s.reason}" for s in found.skipped]),
        inputs=inputs.lines(),
        model_version=predictor.version,
        label_source=predictions[0].label_source if predictions else None,
    )


def error_lines(errors: Sequence[Rejected]) -> list[str]:
    """Return a line for each object that could not be read, of the first ones."""
    return _bounded([f"object {error.index + 1}: {error.detail}" for error in errors])


def _bounded(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    return [*lines[:_MOST_LINES], *more]


def _figures(total: Mapping[str, Any], inputs: Inputs) -> list[tuple[str, str, str]]:
    """Return (label, value, remark) of what people count in."""
    rates = inputs.rates
    cost = units.money(total["cost_month"], rates.currency) if "cost_month" in total else units.UNKNOWN
    co2e = units.co2e(total["co2e_kg_month"]) if "co2e_kg_month" in total else units.UNKNOWN
    price = f"at {rates.price_per_kwh:g} {rates.currency}/kWh" if rates.price_per_kwh is not None else "give a price"
    carbon = f"at {rates.carbon.g_per_kwh:.4g} g/kWh" if rates.carbon else "give a carbon intensity"
    return [
        ("Power", units.watts(total["total_avg_power_w"]), tables.counted(total["replicas"], "pod")),
        ("Energy a month", units.kwh(total["kwh_month"]), "730 hours"),
        ("Cost a month", cost, price),
        ("CO2e a month", co2e, carbon),
    ]


def _row(one: Prediction, explained: Explanation | None, scale: Scale, currency: str) -> Row:
    plain = {"namespace": one.namespace, "workload_name": one.workload_name, "component": one.component}
    interval = None if one.total_interval is None else {"avg_power_w": one.total_interval.avg_power_w}
    return Row(
        name=tables.name_of(plain)[: 3 * _MOST_NAME],
        kind=one.workload_kind[:_MOST_NAME],
        basis=one.basis,
        evidence=one.evidence,
        watts=units.watts(one.total_avg_power_w),
        interval=tables.interval(interval),
        bar=_bar(one, scale),
        kwh=units.kwh(one.kwh_month),
        cost=None if one.cost_month is msgspec.UNSET else units.money(_known(one.cost_month), currency),
        co2e=None if one.co2e_kg_month is msgspec.UNSET else units.co2e(_known(one.co2e_kg_month)),
        pods=one.replicas,
        notes=_bounded(one.notes),
        neighbours=_neighbours(explained) if explained else (),
    )


def _known(value: float | msgspec.UnsetType | None) -> float | None:
    return value if isinstance(value, float | int) else None


def _bar(of: Any, scale: Scale) -> Bar | None:
    if of.total_interval is None or of.total_avg_power_w is None:
        return None
    return scale.bar(of.total_interval.avg_power_w, of.total_avg_power_w)


def _total_amounts(found: Assessment, scale: Scale) -> Amounts:
    total = found.total
    plain = msgspec.to_builtins(total)
    return Amounts(
        watts=units.watts(total.total_avg_power_w),
        interval=tables.interval(plain["total_interval"]),
        bar=_bar(total, scale),
        kwh=units.kwh(total.kwh_month),
        cost=units.money(plain["cost_month"], plain["currency"]) if "cost_month" in plain else None,
        co2e=units.co2e(plain["co2e_kg_month"]) if "co2e_kg_month" in plain else None,
        pods=total.replicas,
    )


def _neighbours(one: Explanation) -> list[tuple[str, str, str]]:
    """Return share, watts and name of what a prediction rests on, by share; the last is the rest."""
    shown = [n for n in one.neighbours if n.weight >= _LEAST_SHARE][:_MOST_NEIGHBOURS]
    rows = [
        (f"{n.weight:.0%}", units.watts(n.avg_power_w), f"{n.namespace}/{n.workload_kind}/{n.workload_name}")
        for n in shown
    ]
    others = 1.0 - one.prior_weight - sum(n.weight for n in shown)
    if one.prior_weight >= _LEAST_SHARE:
        rows.append((f"{one.prior_weight:.0%}", units.watts(one.prior_power_w), "its resources and kind alone"))
    if others >= _LEAST_SHARE:
        rows.append((f"{others:.0%}", "", "others, less each"))
    return rows


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A difference as texts."""

    sentence: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: Sequence[Sequence[str]]
    left_out: int
    total: Sequence[str]
    lines: Sequence[str]


def compared(found: Difference, inputs: Inputs) -> Compared:
    """Return a difference as texts, the largest changes first."""
    answer = found.answer(inputs)
    shown = {**answer, "changes": answer["changes"][: SHOWN + FOLDED]}
    rows = difference_tables.rows_of(shown)
    return Compared(
        sentence=difference_tables.sentence(answer),
        columns=difference_tables.columns_of(answer),
        rows=rows[:SHOWN],
        folded=rows[SHOWN:],
        left_out=len(answer["changes"]) - len(rows),
        total=difference_tables.total_row(answer),
        lines=_bounded(difference_tables.why_unknown({**answer, "errors": []})),
    )
