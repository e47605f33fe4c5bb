"""Predictions as rows of text: the one table behind the terminal, Markdown and HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podpower.impact import units

BASES: Final[dict[str, str]] = {
    "seen": "this very spec was measured",
    "similar": "close to workloads that were measured",
    "prior": "far from all that was measured, hence the wide interval",
}
_MOST_NOTES: Final = 10
_TEXTS: Final = frozenset({"workload", "kind", "basis"})


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows and the row of the total, as text. `right` are the columns of numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]

    @property
    def right(self) -> list[str]:
        """The columns that are aligned to the right."""
        return [column for column in self.columns if column not in _TEXTS]


def prediction_table(answer: Mapping[str, Any]) -> Table:
    """Return the table of an answer shaped as that of `POST /predict/batch`."""
    predictions, total = answer["predictions"], answer["total"]
    currency = total.get("currency") or ""
    level = predictions[0]["interval"]["level"] if predictions else 0.8
    columns = ["workload", "kind", "W", f"{level:.0%} interval", "kWh/month"]
    cost, carbon = "cost_month" in total, "co2e_kg_month" in total
    energies = any(prediction["total_energy_j"] is not None for prediction in predictions)
    columns += [name for name, shown in (("cost/month", cost), ("CO2e/month", carbon)) if shown]
    columns += ["pods", "basis"]
    columns += ["J a job"] if energies else []

    def cells(one: Mapping[str, Any], *, pods: str, unknown: str) -> list[str]:
        found = [
            _or(units.watts(one["total_avg_power_w"]), unknown),
            interval(one["total_interval"]),
            _or(units.kwh(one["kwh_month"]), unknown),
        ]
        found += [_or(units.money(one["cost_month"], currency), unknown)] if cost else []
        found += [_or(units.co2e(one["co2e_kg_month"]), unknown)] if carbon else []
        found += [pods, str(one.get("basis", ""))]
        return found + ([units.quantity(one["total_energy_j"], "J")] if energies else [])

    rows = [
        [name_of(one), one["workload_kind"], *cells(one, pods=_pods(one), unknown=units.UNKNOWN)] for one in predictions
    ]
    last = ["total", "", *cells(total, pods=str(total["replicas"]), unknown="unknown")]
    return Table(columns=columns, rows=rows, total=last)


def _or(text: str, unknown: str) -> str:
    return unknown if text == units.UNKNOWN else text


def interval(of: Mapping[str, Any] | None) -> str:
    """Return an interval of watts as text, "-" where there is none.

    >>> interval({"level": 0.8, "avg_power_w": [0.5, 2.0]})
    '500 mW to 2 W'
    """
    if of is None:
        return units.UNKNOWN
    low_w, high_w = of["avg_power_w"]
    return f"{units.watts(low_w)} to {units.watts(high_w)}"


def name_of(prediction: Mapping[str, Any]) -> str:
    """Return the name of a workload, with its component."""
    component = f" ({prediction['component']})" if prediction.get("component") else ""
    return f"{prediction['namespace']}/{prediction['workload_name']}{component}"


def _pods(prediction: Mapping[str, Any]) -> str:
    limits = prediction["replicas_range"]
    return str(prediction["replicas"]) + (f" ({limits[0]}-{limits[1]})" if limits else "")


def basis_lines(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each basis that occurs, which explains it."""
    if untrained(predictions):
        from podpower.model.cold_start import NOTE  # numpy, which help does without  # noqa: PLC0415

        return [f"prior: {NOTE}"]
    found = {prediction["basis"] for prediction in predictions}
    return [f"{basis}: {meaning}" for basis, meaning in BASES.items() if basis in found]


def untrained(predictions: Sequence[Mapping[str, Any]]) -> bool:
    """Return True for predictions that rest on no measurement at all."""
    from podpower.model.cold_start import VERSION  # noqa: PLC0415

    return any(prediction["model_version"] == VERSION for prediction in predictions)


def notes_of(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the notes on predictions with their names, up to ten."""
    lines = [f"{name_of(prediction)}: {note}" for prediction in predictions for note in prediction["notes"]]
    more = [f"and {len(lines) - _MOST_NOTES} more notes: see --format json"] if len(lines) > _MOST_NOTES else []
    return lines[:_MOST_NOTES] + more


def total_lines(total: Mapping[str, Any]) -> list[str]:
    """Return what a total leaves out, and what it counts once."""
    lines = []
    if total["duplicates"]:
        lines.append(f"given again later, counted once: {counted(total['duplicates'], 'workload')}")
    if missing := missing_in_total(total):
        lines.append(f"the total is incomplete: {missing}")
    return lines


def missing_in_total(total: Mapping[str, Any]) -> str:
    """Describe the parts that a total leaves out; empty when it is complete."""
    parts = []
    if total["errors"]:
        parts.append(f"{counted(total['errors'], 'object')} could not be read")
    if total["unknown_kinds"]:
        parts.append(f"{counted(total['unknown_kinds'], 'object')} of unknown kinds may run pods")
    if total["unknown_power"]:
        parts.append(f"the mean power of {counted(total['unknown_power'], 'workload')} is unknown")
    if total["unknown_kwh_month"]:
        parts.append(f"the kWh of {counted(total['unknown_kwh_month'], 'workload')} are unknown")
    return "; ".join(parts)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "object"), counted(4, "object")
    ('1 object', '4 objects')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
