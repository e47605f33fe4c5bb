"""`podpower predict`: offline predictions."""

import argparse
from typing import TYPE_CHECKING, Any

from podpower.cli import inputs, output, predictions, streams
from podpower.cli.arguments import Commands, UsageError, add_command, count
from podpower.cli.artifacts import read_encoder, read_model
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.model.predictor import Predictor
    from podpower.specs.requests import InferenceRequest

_DRAW_NOTHING = frozenset({"finished", "no_replicas"})


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        run,
        summary="Predict the power and the monthly energy of workloads.",
        details="""\
Each workload counts once: objects whose controller is in the input are part of it, and of an object that is given
twice the last one counts. Finished and suspended objects draw nothing. A CronJob draws its mean over time, by its
schedule. An autoscaler in the input sets the replicas to its minimum. Skipped objects are listed with the reason.

W a pod is the power of one pod, W in all that of all pods, kWh a month the energy of 730 hours. basis shows what a
prediction rests on: "seen" (labels of this spec), "similar" (close neighbours) or "prior" (an estimate from its
resources, far from all training data). Without --encoder and --model the served model of the store predicts
(PODPOWER_MODEL_STORE; by default that of PODPOWER_HOME); where there is none, every prediction is such an estimate.

Exit code 1: some objects could not be read; the others are predicted.

  podpower predict -f deployment.yaml
  podpower predict --encoder encoder.joblib --model knn_energy.joblib -f deployment.yaml --explain
  kubectl get all -A -o yaml | podpower predict --encoder E --model M -f - --format json
  helm template chart | podpower predict -f - --nodes 12
""",
    )
    parser.add_argument("--encoder", metavar="FILE", help="encoder.joblib")
    parser.add_argument("--model", metavar="FILE", help="knn_energy.joblib, trained with that encoder")
    parser.add_argument(
        "-f",
        "--input",
        dest="paths",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="manifests, folders of them, NDJSON of InferenceRequests, or - for standard input",
    )
    parser.add_argument(
        "--format", choices=predictions.FORMATS, default="table", help="how to print (default %(default)s)"
    )
    parser.add_argument("--nodes", type=count, metavar="N", help="pods of a DaemonSet whose status has no number")
    parser.add_argument("--cluster", metavar="NAME", help="cluster of the workloads that name none")
    parser.add_argument(
        "--lenient", action="store_true", help="read objects with misspelt kinds or fields as if these were absent"
    )
    parser.add_argument("--explain", action="store_true", help="add the measured workloads behind each one (not CSV)")


def run(arguments: argparse.Namespace) -> int:
    """Print predictions of all readable workloads; return 1 when some objects could not be read."""
    import msgspec  # noqa: PLC0415  # heavy for help

    from podpower.specs.selection import Options  # noqa: PLC0415

    if (arguments.encoder is None) != (arguments.model is None):
        raise UsageError("--encoder and --model belong together: give both, or none for the served model of the store")
    if arguments.explain and arguments.format == "csv":
        raise UsageError("--explain does not fit into CSV: use --format json or yaml")
    streams.check_inputs(*arguments.paths, arguments.encoder, arguments.model)
    options = Options(cluster=arguments.cluster, nodes=arguments.nodes, lenient=arguments.lenient)
    workloads = inputs.read_workloads(arguments.paths, options)
    predictor = _predictor(arguments, workloads.requests)
    found = predictor.explain(workloads.requests) if arguments.explain else predictor.predict(workloads.requests)
    total = predictor.total(
        found, repeated=workloads.repeated, errors=len(workloads.errors), unknown_kinds=workloads.unknown_kinds
    )
    answer: dict[str, Any] = {
        "predictions": msgspec.to_builtins(found),
        "skipped": msgspec.to_builtins(workloads.skipped),
        "errors": msgspec.to_builtins(workloads.errors),
        "total": msgspec.to_builtins(total),
    }
    predictions.show(answer, form=arguments.format, notes=inputs.skipped_lines(workloads.skipped))
    nothing = not workloads.requests and not any(entry.code in _DRAW_NOTHING for entry in workloads.skipped)
    code = inputs.report(workloads.errors, nothing_else=nothing)
    if nothing:
        raise InvalidInput(inputs.none_found(arguments.paths, workloads))
    return code


def _predictor(arguments: argparse.Namespace, requests: "list[InferenceRequest]") -> "Predictor":
    """Return the given model, else that of the settings or the served one of the store, else the estimate from
    resources; print its notes.
    """
    from podpower.features.encoder import Encoder  # noqa: PLC0415
    from podpower.model.cold_start import NOTE, cold_start_model  # noqa: PLC0415
    from podpower.model.predictor import Predictor  # noqa: PLC0415
    from podpower.specs.requests import Container, InferenceRequest  # noqa: PLC0415

    places = arguments.settings.places
    files = (arguments.encoder, arguments.model) if arguments.model is not None else places.artifacts
    predictor = None
    if files is not None:
        predictor = Predictor(read_encoder(files[0]), read_model(files[1]), version="file")
    elif served := _served(places.model_store):
        predictor = served
        output.note(f"note: predicted by {served.version}, the served model of {places.model_store}")
    if predictor is not None:
        for text in predictor.model.notes:
            output.note(f"note: {text}")
        return predictor
    # An encoder needs something to be fitted on; without a label nothing depends on what.
    nothing = [InferenceRequest(workload_kind="Pod", workload_name="none", containers=[Container()])]
    encoder = Encoder.fit(requests or nothing, text="none")
    if requests:
        output.note(f"note: no model is given, {places.model_store} serves none, and {NOTE}")
    return Predictor(encoder, cold_start_model(encoder), version="untrained")


def _served(root: str) -> "Predictor | None":
    """Return the served model of the store at `root`; None where there is none yet."""
    from podpower.model.predictor import Predictor  # noqa: PLC0415
    from podpower.registry.store import ModelStore  # noqa: PLC0415

    store = ModelStore(root)
    version = store.last_loadable()
    return None if version is None else Predictor(*store.load(version), version=version)
