"""Print predictions as a table, JSON, YAML or CSV, in the shapes of `POST /predict/batch`."""

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podpower.cli import output

FORMATS = ("table", "json", "yaml", "csv")
_EVIDENCE = 5  # neighbours shown of each workload; the others are in JSON
_LEAST_SHARE = 0.005
_MAX_NOTES = 10
_INTERVALS = frozenset({"interval", "intervals", "total_interval"})


def show(answer: Mapping[str, Any], *, form: str, notes: Sequence[str]) -> None:
    """Print an answer in one of FORMATS. `notes` are lines about skipped objects; JSON and YAML have them as data."""
    predictions = answer["predictions"]
    if form == "table":
        show_predictions(predictions, total=answer["total"])
        if predictions and "neighbours" in predictions[0]:
            _show_evidence(predictions)
        for line in notes:
            print(line)
    elif form == "csv":
        _print_csv(predictions)
        for line in notes:
            output.note(line)
    elif form == "yaml":
        import yaml  # noqa: PLC0415  # this format only

        yaml.safe_dump(answer, sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())  # json takes ten times as long


def show_predictions(predictions: Sequence[dict[str, Any]], *, total: Mapping[str, Any]) -> None:
    """Print a table of predictions with their total, and what is missing in it."""
    if predictions:
        level = predictions[0]["interval"]["level"]
        columns = [
            "workload", "kind", "W a pod", f"{level:.0%} interval", "basis", "pods", "W in all", "kWh a month",
        ]  # fmt: skip
        rows = [_cells(prediction) for prediction in predictions]
        last = [
            "total", "", "", "", "", str(total["replicas"]), _of_total(total["total_avg_power_w"], "W"),
            _of_total(total["kwh_month"], "kWh"),
        ]  # fmt: skip
        if any(prediction["total_energy_j"] is not None for prediction in predictions):
            columns.append("J a job")
            rows = [[*r, output.quantity(p["total_energy_j"], "J")] for r, p in zip(rows, predictions, strict=True)]
            last.append(output.quantity(total["total_energy_j"], "J"))
        output.table(columns, rows, right=[c for c in columns if c not in {"workload", "kind", "basis"}], total=last)
        _show_notes(predictions)
    elif total["total_avg_power_w"] is None:
        print("total: unknown")
    if total["duplicates"]:
        print(f"given again later, counted once: {output.count(total['duplicates'], 'workload')}")
    missing = missing_in_total(total)
    if missing:
        print(f"the total is incomplete: {missing}")


def _of_total(value: float | None, unit: str) -> str:
    """Return a sum for a table cell; "unknown" where no part of it is known."""
    if value is None:
        return "unknown"
    return output.quantity_of_kwh(value) if unit == "kWh" else output.quantity(value, unit)


def missing_in_total(total: Mapping[str, Any]) -> str:
    """Describe the parts that a total leaves out; empty when it is complete."""
    parts = []
    if total["errors"]:
        parts.append(f"{output.count(total['errors'], 'object')} could not be read")
    if total["unknown_kinds"]:
        parts.append(f"{output.count(total['unknown_kinds'], 'object')} of unknown kinds may run pods")
    if total["unknown_power"]:
        parts.append(f"the mean power of {output.count(total['unknown_power'], 'workload')} is unknown")
    if total["unknown_kwh_month"]:
        parts.append(f"the kWh of {output.count(total['unknown_kwh_month'], 'workload')} are unknown")
    return "; ".join(parts)


def _show_notes(predictions: Sequence[dict[str, Any]]) -> None:
    lines = [f"{_name(prediction)}: {note}" for prediction in predictions for note in prediction["notes"]]
    for line in lines[:_MAX_NOTES]:
        print(line)
    if len(lines) > _MAX_NOTES:
        print(f"and {len(lines) - _MAX_NOTES} more notes: see --format json")


def _name(prediction: Mapping[str, Any]) -> str:
    component = f" ({prediction['component']})" if prediction["component"] else ""
    return f"{prediction['namespace']}/{prediction['workload_name']}{component}"


def _cells(prediction: Mapping[str, Any]) -> list[str]:
    low, high = prediction["interval"]["avg_power_w"]
    limits = prediction["replicas_range"]
    pods = str(prediction["replicas"]) + (f" ({limits[0]}-{limits[1]})" if limits else "")
    return [
        _name(prediction),
        prediction["workload_kind"],
        output.quantity(prediction["pred_avg_power_w"], "W"),
        f"{output.quantity(low, 'W')} to {output.quantity(high, 'W')}",
        prediction["basis"],
        pods,
        output.quantity(prediction["total_avg_power_w"], "W"),
        output.quantity_of_kwh(prediction["kwh_month"]),
    ]


def _show_evidence(explanations: Sequence[dict[str, Any]]) -> None:
    """Print the measurements behind each prediction."""
    rows: list[tuple[str, ...]] = []
    for explanation in explanations:
        name = f"{explanation['namespace']}/{explanation['workload_name']}"
        for cells in _evidence(explanation):
            rows.append((name, *cells))
            name = ""
    columns = ("workload", "share", "W a pod", "distance", "rests on")
    print()
    output.table(columns, rows, right=columns[1:4])
    if source := explanations[0]["label_source"]:
        print(f"labels: {source}")


def _evidence(explanation: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return share, watts, distance and name of the entries behind a prediction, by share."""
    shown = [n for n in explanation["neighbours"] if n["weight"] >= _LEAST_SHARE][:_EVIDENCE]
    names = [f"{n['namespace']}/{n['workload_kind']}/{n['workload_name']}" for n in shown]
    rows = []
    for neighbour, name in zip(shown, names, strict=True):
        revision = f" (spec {neighbour['spec_hash'][:8]})" if names.count(name) > 1 else ""
        watts = output.quantity(neighbour["avg_power_w"], "W")
        distance = output.number(neighbour["distance"], 2)
        rows.append((f"{neighbour['weight']:.0%}", watts, distance, name + revision))
    prior = explanation["prior_weight"]
    others = 1.0 - prior - sum(neighbour["weight"] for neighbour in shown)
    alone = output.quantity(explanation["prior_power_w"], "W")
    rest = ((prior, alone, "its resources and kind alone"), (others, "", "others, less each"))
    rows += [(f"{share:.0%}", watts, "", name) for share, watts, name in rest if share >= _LEAST_SHARE]
    return rows


def _print_csv(predictions: Sequence[dict[str, Any]]) -> None:
    """Print CSV; intervals are columns: `interval_energy_step_j_low` and so on, `interval_95_...` of other levels.

    `total_interval_...` columns are of all pods.
    """
    if not predictions:
        return
    flat = [_flat(prediction) for prediction in predictions]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    interval = prediction["interval"]
    flat = {name: value for name, value in prediction.items() if name not in _INTERVALS}
    flat["notes"] = "; ".join(prediction["notes"])
    flat["replicas_range"] = "-".join(map(str, prediction["replicas_range"] or ()))
    flat["interval_level"] = interval["level"]
    named = [("interval", interval)]
    named += [(f"interval_{100 * i['level']:g}", i) for i in prediction["intervals"] if i["level"] != interval["level"]]
    for prefix, of_level in named:
        for name in ("energy_step_j", "avg_power_w"):
            flat[f"{prefix}_{name}_low"], flat[f"{prefix}_{name}_high"] = of_level[name]
    of_all_pods = prediction["total_interval"] or {"avg_power_w": (None, None)}
    flat["total_interval_avg_power_w_low"], flat["total_interval_avg_power_w_high"] = of_all_pods["avg_power_w"]
    return flat
