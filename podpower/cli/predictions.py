"""Print predictions as a table, JSON, YAML, CSV, Markdown or HTML, in the shapes of `POST /predict/batch`."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from podpower.cli import output, streams
from podpower.impact import tables, units

FORMATS = ("table", "json", "yaml", "csv", "markdown", "html")
_EVIDENCE = 5  # neighbours shown of each workload; the others are in JSON
_LEAST_SHARE = 0.005
_BEYOND_ASCII = re.compile("[^ -~]")
_ROWS = 256  # encoded at a time
_INTERVALS = frozenset({"interval", "intervals", "total_interval"})


def show(answer: Mapping[str, Any], *, form: str, inputs: Sequence[str], notes: Sequence[str]) -> None:
    """Print an answer in one of FORMATS. `inputs` are lines about what the figures rest on, `notes` lines about skipped
    objects; JSON and YAML have both as data, beside CSV they are on standard error.
    """
    predictions = answer["predictions"]
    if form == "table":
        show_predictions(answer)
        if predictions and "neighbours" in predictions[0]:
            _show_evidence(predictions)
        for line in (*inputs, *notes):
            output.line(line)
    elif form == "csv":
        _print_csv(predictions)
        for line in (*inputs, *notes):
            output.note(line)
    elif form == "markdown":
        from podpower.impact import markdown  # noqa: PLC0415  # this format only

        print(markdown.predictions(answer, inputs=inputs, notes=notes))
    elif form == "html":
        from podpower.impact import page  # noqa: PLC0415  # this format only

        text = page.render(answer, inputs=inputs, notes=notes)
        print(text if streams.prints_unicode() else text.encode("ascii", "xmlcharrefreplace").decode(), end="")
    elif form == "yaml":
        print_yaml(answer)
    else:
        print_json(answer)


def print_yaml(answer: Mapping[str, Any]) -> None:
    """Print plain values as YAML; where there are characters that a terminal obeys, all beyond ASCII are escaped."""
    import yaml  # noqa: PLC0415  # this format only

    from podpower.specs.quoting import UNPRINTABLE  # noqa: PLC0415

    text = yaml.safe_dump(dict(answer), sort_keys=False, allow_unicode=True)
    if UNPRINTABLE.search(text.replace("\n", "")) or not (text.isascii() or streams.prints_unicode()):
        text = yaml.safe_dump(dict(answer), sort_keys=False, allow_unicode=False)
    sys.stdout.write(text)


def print_json(answer: Mapping[str, Any]) -> None:
    """Print plain values as JSON; characters that a terminal obeys, or lacks, are escaped."""
    from podpower.specs.quoting import UNPRINTABLE  # noqa: PLC0415

    escaped = UNPRINTABLE if streams.prints_unicode() else _BEYOND_ASCII
    for text in _indented(answer):
        if text.isascii() and "\x7f" not in text:
            sys.stdout.write(text)
        else:
            lines = text.split("\n")
            sys.stdout.write("\n".join(escaped.sub(lambda c: json.dumps(c[0])[1:-1], line) for line in lines))


def _indented(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield an object as indented JSON, a part of a long list at a time."""
    before = "{\n"
    for name, value in answer.items():
        parts = [value]
        if isinstance(value, (list, tuple)) and len(value) > _ROWS:
            parts = [value[start : start + _ROWS] for start in range(0, len(value), _ROWS)]
        for place, part in enumerate(parts):
            field = msgspec.json.format(msgspec.json.encode({name: part}), indent=2).decode()  # json takes ten times
            first = field.index("[\n") + 2 if place else 2
            last = field.rindex("\n  ]") if place < len(parts) - 1 else -2
            yield before + field[first:last]
            before = ",\n"
    yield "\n}\n"


def show_predictions(answer: Mapping[str, Any]) -> None:
    """Print a table of predictions with their total, what is missing in it, and what the predictions rest on."""
    predictions, total = answer["predictions"], answer["total"]
    if predictions:
        found = tables.prediction_table(answer)
        output.table(found.columns, found.rows, right=found.right, total=found.total)
    elif total["total_avg_power_w"] is None:
        print("total: unknown")
    lines = [*tables.total_lines(total), *tables.notes_of(predictions), *tables.basis_lines(predictions)]
    for line in lines:
        output.line(line)


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
        watts = units.quantity(neighbour["avg_power_w"], "W")
        distance = output.number(neighbour["distance"], 2)
        rows.append((f"{neighbour['weight']:.0%}", watts, distance, name + revision))
    prior = explanation["prior_weight"]
    others = 1.0 - prior - sum(neighbour["weight"] for neighbour in shown)
    alone = units.quantity(explanation["prior_power_w"], "W")
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
    from podpower.specs.quoting import cell  # noqa: PLC0415  # this format only

    flat = {name: cell(value) for name, value in prediction.items() if name not in _INTERVALS}
    flat["notes"] = cell("; ".join(prediction["notes"]))
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
