"""A difference as rows and sentences: the one text behind the terminal and the comment on a pull request."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from podpower.impact import tables, units

NOTHING: Final = "No workload changes what it draws."
_UNKNOWN: Final = "unknown"


def sentence(answer: Mapping[str, Any]) -> str:
    """Return the monthly change in one sentence, from an answer shaped as that of `POST /diff`."""
    changes, delta = answer["changes"], answer["total"]["delta"]
    incomplete = _incomplete(answer)
    if not changes:
        return f"{NOTHING}{incomplete}"
    if delta["unknown"] == len(changes):
        return (
            f"{tables.counted(len(changes), 'workload')} changed; how much the energy changes is unknown.{incomplete}"
        )
    kwh = delta["kwh_month"]
    old, new = (answer["total"][side]["kwh_month"] for side in ("old", "new"))
    more = [_more(delta, name) for name in ("cost_month", "co2e_kg_month") if name in delta]
    beside = f" ({', '.join(more)})" if more else ""
    verb = "adds" if kwh > 0 else "saves" if kwh < 0 else "changes nothing in"
    amount = f"{units.kwh(abs(kwh))} a month" if kwh else "the energy of a month"
    low, high = delta["kwh_interval"]
    share = f", {percent(kwh, old)}" if old else ""
    between = f"; 80 % between {units.signed(units.kwh(low))} and {units.signed(units.kwh(high))}" if kwh else ""
    sides = f": {units.kwh(old or 0.0)} to {units.kwh(new or 0.0)}{share}{between}"
    missing = (
        f". {tables.counted(delta['unknown'], 'change')} of unknown energy not counted" if delta["unknown"] else ""
    )
    return f"This change {verb} {amount}{beside}{sides}{missing}.{incomplete}"


def _incomplete(answer: Mapping[str, Any]) -> str:
    unread = len(answer["errors"])
    return f" Incomplete: {tables.counted(unread, 'object')} could not be read." if unread else ""


def _more(delta: Mapping[str, Any], name: str) -> str:
    if name == "cost_month":
        return units.signed(units.money(delta[name], delta["currency"]))
    return f"{units.signed(units.co2e(delta[name]))} CO2e"


def percent(delta: float, old: float) -> str:
    """Return a change as a share of what was there.

    >>> percent(5.0, 100.0), percent(-0.1, 100.0), percent(900.0, 1.0)
    ('+5 %', '-0.1 %', 'x 901')
    """
    share = 100.0 * delta / old
    return f"x {1 + share / 100:.3g}" if share > 999 else f"{share:+.2g} %" if abs(share) < 10 else f"{share:+.0f} %"


def columns_of(answer: Mapping[str, Any]) -> list[str]:
    """Return the columns of `rows_of`; the first two are texts and so are the last two."""
    delta = answer["total"]["delta"]
    priced = [name for name, key in (("cost/month", "cost_month"), ("CO2e/month", "co2e_kg_month")) if key in delta]
    return ["workload", "kind", "W", "kWh/month", "80% interval (W)", *priced, "basis", "what changes"]


def rows_of(answer: Mapping[str, Any]) -> list[list[str]]:
    """Return a row of texts for each change."""
    return [_row(change, answer) for change in answer["changes"]]


def total_row(answer: Mapping[str, Any]) -> list[str]:
    """Return the row of the total."""
    delta = answer["total"]["delta"]
    currency = delta.get("currency", "")
    cells = [units.signed(units.watts(delta["total_avg_power_w"])), units.signed(units.kwh(delta["kwh_month"]))]
    cells.append(_interval(delta["total_interval"]))
    if "cost_month" in delta:
        cells.append(units.signed(units.money(delta["cost_month"], currency)))
    if "co2e_kg_month" in delta:
        cells.append(units.signed(units.co2e(delta["co2e_kg_month"])))
    return ["total", "", *cells, "", ""]


def _row(change: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    delta = answer["total"]["delta"]
    cells = [
        _signed(change["delta_w"], units.watts),
        _signed(change["delta_kwh_month"], units.kwh),
        _interval(change["delta_interval"]),
    ]
    if "cost_month" in delta:
        cells.append(_signed(change.get("delta_cost_month"), lambda value: units.money(value, delta["currency"])))
    if "co2e_kg_month" in delta:
        cells.append(_signed(change.get("delta_co2e_kg_month"), units.co2e))
    side = change["new"] or change["old"]
    what = ", ".join(change["what"]) if change["change"] == "changed" else change["change"]
    return [tables.name_of(change), change["workload_kind"], *cells, side["basis"], what or "changed"]


def _signed(value: float | None, text: Any) -> str:
    return _UNKNOWN if value is None else units.signed(text(value))


def _interval(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return units.UNKNOWN
    low, high = (units.signed(units.watts(end)) for end in of["avg_power_w"])
    return f"{low} to {high}"


def why_unknown(answer: Mapping[str, Any]) -> list[str]:
    """Return the notes on changes whose energy is unknown, and on objects that could not be read."""
    lines = []
    for change in answer["changes"]:
        for side in (change["new"], change["old"]):
            if side and (change["delta_w"] is None or change["delta_kwh_month"] is None):
                lines += [f"{tables.name_of(change)}: {note}" for note in side["notes"][:1]]
                break
    errors = [f"could not be read: {error['source']}: {error['detail']}" for error in answer["errors"]]
    return [*lines, *errors]


def basis_lines(answer: Mapping[str, Any]) -> Sequence[str]:
    """Return a line for each basis of the shown predictions."""
    return tables.basis_lines(_shown(answer))


def untrained(answer: Mapping[str, Any]) -> bool:
    """Return True for a difference that rests on no measurement at all."""
    return tables.untrained(_shown(answer))


def _shown(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [change["new"] or change["old"] for change in answer["changes"]]
