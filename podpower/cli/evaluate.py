"""`podpower evaluate`: evaluate training on rows."""

import argparse
import json

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, UsageError, add_command
from podpower.cli.tables import read_training_set, write_output
from podpower.cli.train import add_training_options, left_out
from podpower.errors import InvalidInput


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        summary="Evaluate on unseen workloads, forward in time and across clusters, compared with baselines.",
        details="""\
The verdict on each split comes first; alarms for biased sums, and for intervals that cover too few or too many labels,
go to standard error. One number a pod, its mean label. WAPE is the sum of absolute errors over the sum of labels; log
R2 is R2 of log(1 + J); "sum" is the sum of expected values over that of labels. The last lines split podpower's score
by basis. By kind, by namespace, over time and every pod: --html or --json.

  podpower evaluate --train train_rows.parquet
  podpower evaluate --train train_rows.parquet --ablation --html report.html
""",
    )
    add_training_options(parser)
    parser.add_argument("--html", metavar="FILE", help="also write a report with plots: one file without links")
    parser.add_argument(
        "--ablation", action="store_true", help="also leave out each block of features: numbers, categories, texts"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print. InvalidInput when no split could be evaluated."""
    from podpower.cli.scores import show_report  # noqa: PLC0415
    from podpower.evaluation.evaluate import evaluate  # noqa: PLC0415

    if arguments.html == "-" and arguments.json:
        raise UsageError("--html - and --json both print: give --html a file")
    if arguments.html:
        streams.check_output(arguments.html, inputs=[arguments.train])
    training_set = read_training_set(arguments.train, target=arguments.target)
    with output.progress("evaluating") as advance:
        report = evaluate(
            training_set,
            neighbors=arguments.neighbors,
            ablation=arguments.ablation,
            progress=lambda split, done, folds: advance(done, folds, split),
        )
    if not report.splits:
        raise InvalidInput(f"nothing could be evaluated: {'; '.join(report.notes)}")
    if arguments.html:
        from podpower.evaluation.pages import sealed_page  # noqa: PLC0415
        from podpower.evaluation.report import render  # noqa: PLC0415

        write_output(sealed_page(render(report)), arguments.html)
    if arguments.json:
        print(json.dumps(report.to_dict()))
    elif arguments.html != "-":
        show_report(report)
    for text in (*left_out(training_set.left_out), *report.notes):
        output.note(f"note: {text}")
    return 0
