"""`podpower predict`: offline predictions."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podpower.cli import inputs, output, streams
from podpower.cli.arguments import Commands, UsageError, add_command
from podpower.cli.artifacts import read_encoder, read_model


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        run,
        summary="Predict what workloads will draw, from an encoder and a model.",
        details="""\
Watts and joules are for one pod; the total multiplies by replicas. `basis` tells what a prediction rests on: "seen"
(this spec has labels), "similar" (close neighbours), "prior" (too far from all training data: an estimate from its
resources). Without encoder and model everything is such an estimate.

  podpower predict --encoder encoder.joblib --model knn_energy.joblib --input deployment.yaml --explain
  kubectl get deploy web -o yaml | podpower predict --encoder E --model M --input - --format json
  podpower predict --input deployment.yaml
""",
    )
    parser.add_argument("--encoder", metavar="FILE", help="encoder.joblib")
    parser.add_argument("--model", metavar="FILE", help="knn_energy.joblib, trained with that encoder")
    parser.add_argument("--input", required=True, metavar="FILE", help="NDJSON of InferenceRequests, manifests, or -")
    parser.add_argument(
        "--format", choices=("table", *_FORMATS), default="table", help="how to print (default %(default)s)"
    )
    parser.add_argument("--explain", action="store_true", help="also tell the measured workloads it rests on (not CSV)")


def run(arguments: argparse.Namespace) -> int:
    """Print predictions of all readable workloads; 1 when some were rejected."""
    import msgspec  # noqa: PLC0415  # heavy for help

    from podpower.features.encoder import Encoder  # noqa: PLC0415
    from podpower.model.cold_start import NOTE, cold_start_model  # noqa: PLC0415
    from podpower.model.predictor import Predictor  # noqa: PLC0415

    if (arguments.encoder is None) != (arguments.model is None):
        raise UsageError("--encoder and --model belong together: give both, or none for an estimate from resources")
    if arguments.explain and arguments.format == "csv":
        raise UsageError("--explain does not fit into CSV: use --format json or yaml")
    streams.check_inputs(arguments.input, arguments.encoder, arguments.model)
    requests, rejected = inputs.read_requests(arguments.input)
    if arguments.model is not None:
        predictor = Predictor(read_encoder(arguments.encoder), read_model(arguments.model), version="file")
    elif requests:
        encoder = Encoder.fit(requests, text="none")
        predictor = Predictor(encoder, cold_start_model(encoder), version="untrained")
        output.note(f"note: no model is given and {NOTE}")
    else:
        return inputs.report(rejected)
    if arguments.model is not None:
        for text in predictor.model.notes:
            output.note(f"note: {text}")
    predictions = predictor.explain(requests) if arguments.explain else predictor.predict(requests)
    plain: list[dict[str, Any]] = msgspec.to_builtins(predictions)
    if arguments.format == "table":
        show_predictions(plain, total=msgspec.to_builtins(predictor.total(predictions)))
        if arguments.explain:
            _show_evidence(plain)
    else:
        _FORMATS[arguments.format](plain)
    return inputs.report(rejected)


def show_predictions(predictions: Sequence[dict[str, Any]], *, total: Mapping[str, Any]) -> None:
    """A table of predictions shaped as `POST /predict` answers, with a line of their `total`."""
    if not predictions:
        return
    level, step_s = predictions[0]["interval"]["level"], predictions[0]["step_seconds"]
    columns = [
        "workload", "kind", "W a pod", f"{level:.0%} interval", f"J a pod in {step_s:g} s", "basis", "pods", "W in all",
    ]  # fmt: skip
    rows = [_cells(prediction) for prediction in predictions]
    last = ["total", "", "", "", "", "", str(total["replicas"]), output.quantity(total["total_avg_power_w"], "W")]
    if any(prediction["total_energy_j"] is not None for prediction in predictions):
        columns.append("J a job")
        rows = [[*r, output.quantity(p["total_energy_j"], "J")] for r, p in zip(rows, predictions, strict=True)]
        last.append(output.quantity(total["total_energy_j"], "J"))
    output.table(columns, rows, right=[c for c in columns if c not in {"workload", "kind", "basis"}], total=last)


def _cells(prediction: Mapping[str, Any]) -> list[str]:
    low, high = prediction["interval"]["avg_power_w"]
    return [
        f"{prediction['namespace']}/{prediction['workload_name']}",
        prediction["workload_kind"],
        output.quantity(prediction["pred_avg_power_w"], "W"),
        f"{output.quantity(low, 'W')} to {output.quantity(high, 'W')}",
        output.quantity(prediction["pred_energy_step_j"], "J"),
        prediction["basis"],
        str(prediction["replicas"]),
        output.quantity(prediction["total_avg_power_w"], "W"),
    ]


def _show_evidence(explanations: Sequence[dict[str, Any]]) -> None:
    """Whose measurements each prediction is made of."""
    rows = []
    for explanation in explanations:
        name = f"{explanation['namespace']}/{explanation['workload_name']}"
        shown = [n for n in explanation["neighbours"] if n["weight"] >= _LEAST_TOLD][:_EVIDENCE]
        names = [f"{n['namespace']}/{n['workload_kind']}/{n['workload_name']}" for n in shown]
        for neighbour, what in zip(shown, names, strict=True):
            revision = f" (spec {neighbour['spec_hash'][:8]})" if names.count(what) > 1 else ""
            watts = output.quantity(neighbour["avg_power_w"], "W")
            rows.append(
                (name, f"{neighbour['weight']:.0%}", watts, output.number(neighbour["distance"], 2), what + revision)
            )
            name = ""
        prior = explanation["prior_weight"]
        others = 1.0 - prior - sum(neighbour["weight"] for neighbour in shown)
        alone = output.quantity(explanation["prior_power_w"], "W")
        rest = ((prior, alone, "its resources and kind alone"), (others, "", "others, less each"))
        for share, watts, what in rest:
            if share >= _LEAST_TOLD:
                rows.append((name, f"{share:.0%}", watts, "", what))
                name = ""
    columns = ("workload", "share", "W a pod", "distance", "rests on")
    print()
    output.table(columns, rows, right=columns[1:4])


_EVIDENCE = 5  # neighbours told of each workload; the others are in JSON
_LEAST_TOLD = 0.005


def _print_json(predictions: Sequence[dict[str, Any]]) -> None:
    print(json.dumps(list(predictions), indent=2))


def _print_yaml(predictions: Sequence[dict[str, Any]]) -> None:
    import yaml  # noqa: PLC0415  # this format only

    yaml.safe_dump(list(predictions), sys.stdout, sort_keys=False, allow_unicode=True)


def _print_csv(predictions: Sequence[dict[str, Any]]) -> None:
    """Intervals as columns of their own: `interval_energy_step_j_low` and so on, `interval_95_...` of other levels."""
    flat = [_flat(prediction) for prediction in predictions]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    interval = prediction["interval"]
    flat = {name: value for name, value in prediction.items() if name not in {"interval", "intervals"}}
    flat["interval_level"] = interval["level"]
    named = [("interval", interval)]
    named += [(f"interval_{100 * i['level']:g}", i) for i in prediction["intervals"] if i["level"] != interval["level"]]
    for prefix, of_level in named:
        for name in ("energy_step_j", "avg_power_w"):
            flat[f"{prefix}_{name}_low"], flat[f"{prefix}_{name}_high"] = of_level[name]
    return flat


_FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], None]] = {
    "json": _print_json,
    "yaml": _print_yaml,
    "csv": _print_csv,
}
