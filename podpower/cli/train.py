"""`podpower train`: train a model on rows and evaluate it on held-out workloads."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, Parser, add_command, name, positive
from podpower.cli.artifacts import write_model
from podpower.cli.tables import read_training_set

if TYPE_CHECKING:
    from podpower.datasets.training_set import TrainingSet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        run,
        summary="Train a model and print its grouped cross-validation, compared with baselines.",
        details="""\
  podpower train --train train_rows.parquet --out artifacts/knn_energy.joblib
  podpower train --train train_rows.parquet --target total_energy_j --out artifacts/knn_energy.joblib --json
""",
    )
    add_training_options(parser)
    parser.add_argument(
        "--node-type",
        type=name,
        metavar="TYPE",
        help="machine type of the nodes that the labels are of, where all have the same",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write knn_energy.joblib")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


def add_training_options(parser: Parser) -> None:
    """Add the options of training, which `evaluate` shares."""
    parser.add_argument("--train", required=True, metavar="FILE", help="train_rows.parquet of `join`, or -")
    parser.add_argument(
        "--target",
        choices=("energy_step_j", "avg_power_w", "total_energy_j"),
        default="energy_step_j",
        help="joules a step, watts, or joules of a whole job (default %(default)s)",
    )
    parser.add_argument(
        "--neighbors",
        type=positive,
        metavar="K",
        help="average at most K neighbours (default: chosen by cross-validation)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, write the model, and print its evaluation on held-out workloads."""
    from podpower.cli.scores import show_report  # noqa: PLC0415
    from podpower.datasets.hash_versions import older_hashes  # noqa: PLC0415
    from podpower.evaluation.evaluate import evaluate  # noqa: PLC0415
    from podpower.evaluation.figures import EVALUATION, kept_figures  # noqa: PLC0415
    from podpower.evaluation.names import UNSEEN  # noqa: PLC0415
    from podpower.io import heap, parquet  # noqa: PLC0415
    from podpower.training.train import train  # noqa: PLC0415

    if heap.keep_small():  # copies of all vectors come and go
        parquet.allocate_from_heap()
    streams.check_output(arguments.out, inputs=[arguments.train])
    with output.progress("training") as advance:
        heap.keep_free()  # for one batch of rows after another
        training_set = read_training_set(arguments.train, target=arguments.target)
        heap.keep_small()
        heap.trim()
        report = evaluate(
            training_set,
            neighbors=arguments.neighbors,
            splits=(UNSEEN,),
            progress=lambda split, done, folds: advance(done, folds, split),
        )
        heap.trim()  # of what the models of folds took
        advance(0, None, "all labels")
        node_types = {"": arguments.node_type} if arguments.node_type else {}
        model = train(training_set, neighbors=arguments.neighbors, node_types=node_types)
    model.metrics[EVALUATION] = kept_figures(report.splits)
    rows, older, entries = _rows(training_set), training_set.older_hashes, len(training_set.entries)
    reasons = training_set.left_out
    del training_set  # as large as the model, which is written next
    write_model(model, arguments.out)
    stream = sys.stderr if arguments.out == streams.STANDARD else sys.stdout
    if arguments.json:
        print(json.dumps(_summary(model, report)), file=stream)
    else:
        show_report(report, stream=stream)
    counts = [f"{model.training_size[name]} {name}" for name in ("examples", "specs", "workloads")]
    output.note(f"{arguments.out}: {model.target}, trained on {rows}: {', '.join(counts)}")
    if older:
        counted = older_hashes(older, entries, command="podpower encode transform")
        output.note(f"warning: {arguments.train}: {counted}, then join again")
    for text in (*left_out(reasons), *model.notes, *report.notes):
        output.note(f"note: {text}")
    return 0


def _rows(training_set: "TrainingSet") -> str:
    return f"{len(training_set)} of {training_set.row_count} rows"


def left_out(reasons: dict[str, int]) -> list[str]:
    """Return a note on the rows that were not used; nothing where there are none."""
    counts = [f"{count} because {reason}" for reason, count in reasons.items()]
    return [f"{sum(reasons.values())} rows were left out: {', '.join(counts)}"] if counts else []


def _summary(model: Any, report: Any) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return {
        "target": model.target,
        "step_seconds": model.step_seconds,
        "energy": model.energy,
        "encoder_fingerprint": model.encoder_fingerprint,
        "trained_at": model.trained_at,
        "training_size": model.training_size,
        "metrics": model.metrics,
        "notes": list(model.notes),
        "verdicts": msgspec.to_builtins(report.verdicts),
        "cross_validation": {
            split.name: {
                "folds": split.folds,
                "scores": msgspec.to_builtins(split.scores),
                "by_basis": msgspec.to_builtins(split.by_basis),
            }
            for split in report.splits
        },
    }
