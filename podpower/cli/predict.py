"""`podpower predict`: offline predictions."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from podpower.cli import inputs, output, predictions, streams
from podpower.cli.arguments import Commands, UsageError, add_command
from podpower.cli.assessing import add_assessing, bounded_inputs, options_of, predictor_for
from podpower.cli.garbage import without_collections
from podpower.cli.impact import threshold
from podpower.errors import InvalidInput
from podpower.impact import tables

if TYPE_CHECKING:
    from podpower.impact.assessment import Inputs
    from podpower.impact.thresholds import Threshold
    from podpower.specs.selection import Workloads

THRESHOLD_CODE: Final = 3
_DATA = frozenset({"json", "yaml"})  # have an answer also where nothing is predicted: its errors
_EXPLAINED = ("table", "json", "yaml")


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

W is the expected power of all pods of a workload, kWh a month the energy of 730 hours; the power of one pod is in JSON.
basis shows what a prediction rests on: "seen" (labels of this spec), "similar" (close neighbours) or "prior" (an
estimate from its resources, far from all training data). Without --encoder and --model the served model of the store
predicts (PODPOWER_MODEL_STORE; by default that of PODPOWER_HOME); where there is none, every prediction is such an
estimate. A store that --store names must serve one. That of a service may need an API key, in the file that
PODPOWER_MODEL_STORE_KEY_FILE names, and certificates of its CA, in that of SSL_CERT_FILE.

Exit code 1: some objects could not be read; the others are predicted. Exit code 3: the total is above a threshold.

  podpower predict -f deployment.yaml
  podpower predict -f k8s/ --price 0.30 --carbon 380 --fail-above 50EUR
  podpower predict -f deployment.yaml --store https://podpower.example.org/store
  podpower predict --encoder encoder.joblib --model knn_energy.joblib -f deployment.yaml --explain
  kubectl get all -A -o yaml | podpower predict -f - --format json
  helm template chart | podpower predict -f - --nodes 12
  kubectl kustomize overlays/prod | podpower predict -f - --scope total --idle-w-per-vcpu 0.74
""",
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help=_PATHS)
    parser.add_argument(
        "-f", "--input", dest="more_paths", default=[], nargs="+", action="extend", metavar="PATH", help="the same"
    )
    # As kubectl has it, and people type it.
    parser.add_argument("-k", "--kustomize", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("-R", "--recursive", action="store_true", help=argparse.SUPPRESS)  # as folders are always read
    parser.add_argument(
        "-o", "--format", choices=predictions.FORMATS, default="table", help="how to print (default %(default)s)"
    )
    parser.add_argument("--explain", action="store_true", help="add the measured workloads behind each one (not CSV)")
    add_assessing(parser)
    parser.add_argument(
        "--fail-above",
        action="append",
        default=[],
        type=threshold,
        metavar="500W|100kWh|50EUR",
        help="exit with 3 when the total is above; energy and money are those of a month; may be given several times",
    )


_PATHS = "manifests, folders of them, NDJSON of InferenceRequests, or - for standard input"


def run(arguments: argparse.Namespace) -> int:
    """Print predictions of all readable workloads; return 1 when some objects could not be read, else 3 when the total
    is above a threshold.
    """
    paths = [*arguments.paths, *arguments.more_paths]
    if arguments.kustomize is not None:
        folder = arguments.kustomize
        raise UsageError(f"-k: podpower does not render: kubectl kustomize {folder} | podpower predict -f -")
    if not paths:
        raise UsageError("nothing to predict: name manifests or folders with -f, or pipe manifests into -f -")
    if arguments.explain and arguments.format not in _EXPLAINED:
        raise UsageError(f"--explain does not fit into {arguments.format}: use --format table, json or yaml")
    streams.check_inputs(*paths, arguments.encoder, arguments.model)
    given = bounded_inputs(arguments, *arguments.fail_above)
    with without_collections():
        return predict_files(arguments, paths, given)


def predict_files(arguments: argparse.Namespace, paths: Sequence[str], given: "Inputs") -> int:
    """Predict the workloads of files and print; return the exit code."""
    workloads = inputs.read_workloads(paths, options_of(arguments), to_predict=True)
    return predict_workloads(arguments, workloads, given, paths)


def predict_workloads(
    arguments: argparse.Namespace, workloads: "Workloads", given: "Inputs", paths: Sequence[str]
) -> int:
    """Predict workloads and print; return the exit code. `paths` name the input."""
    from podpower.impact.assessment import assess  # noqa: PLC0415

    predictor = predictor_for(arguments, given, workloads)
    found = assess(predictor, workloads, given, explain=arguments.explain)
    answer = found.answer(given, plain=arguments.format != "json")
    notes = inputs.skipped_lines(workloads.skipped)
    nothing = inputs.is_nothing(workloads)
    if not nothing or arguments.format in _DATA:
        predictions.show(answer, form=arguments.format, inputs=given.lines(), notes=notes)
    code = inputs.report(workloads.errors, nothing_else=nothing)
    if nothing:
        for line in notes if len(workloads.skipped) > 1 else ():
            output.note(line)
        raise InvalidInput(inputs.none_found(paths, workloads))
    above = _above(arguments.fail_above, answer["total"])
    return code or (THRESHOLD_CODE if above else 0)


def _above(bounds: "Sequence[Threshold]", total: Mapping[str, Any]) -> bool:
    """Print which thresholds the total exceeds, and which it may exceed; return whether it exceeds one."""
    values = {"watts": total["total_avg_power_w"], "kwh": total["kwh_month"], "cost": total.get("cost_month")}
    above = False
    for bound in bounds:
        exceeded = bound.exceeded(**values)
        if exceeded:
            output.note(f"above the threshold of {bound.text}: the total is {bound.shown(**values)}")
            above = True
        elif exceeded is None or tables.missing_in_total(total):
            output.note(f"note: the total is incomplete, so it may be above the threshold of {bound.text}")
    return above
