"""`podpower join`: labels with the spec in force at their step."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, UsageError, add_command
from podpower.cli.tables import read_table, write_table
from podpower.errors import InvalidInput
from podpower.impact.tables import counted

if TYPE_CHECKING:
    import polars as pl

    from podpower.io.parquet import TableFile


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "join",
        run,
        summary="Join labels to the spec that was in force at their step: one row for each label that has a spec.",
        details="""\
  podpower join --features features.parquet --labels labels.parquet --out train_rows.parquet
  podpower join --features features.parquet --labels steps.parquet runs.parquet --out train_rows.parquet

Several files are joined as one: labels of steps (`label --mode window`) and of runs (`label --mode job`), so that one
model knows watts and joules a run. Of runs beside steps those count that succeeded and are at least half measured.
""",
    )
    parser.add_argument("--features", required=True, metavar="FILE", help="features.parquet of `encode transform`")
    parser.add_argument(
        "--labels",
        required=True,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="labels.parquet of `label`, or of the k8sPodPCP exporter; several are joined as one",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write train_rows.parquet")


def run(arguments: argparse.Namespace) -> int:
    """Join, write the rows, and print the labels that did not join."""
    from podpower.datasets.join import Joiner  # noqa: PLC0415
    from podpower.features import table as features_table  # noqa: PLC0415
    from podpower.labels.batches import LabelBatches  # noqa: PLC0415

    named = list(dict.fromkeys(arguments.labels))
    if len(named) < len(arguments.labels):
        raise UsageError("a file of labels is given twice: name each once")
    streams.check_output(arguments.out, inputs=[arguments.features, *named])
    streams.check_inputs(arguments.features, *named)
    features = features_table.checked_features(
        read_table(arguments.features, command=features_table.COMMAND),
        source=streams.display_name(arguments.features),
    )
    joiner = Joiner(features)
    batches = LabelBatches({streams.display_name(path): _labels(path) for path in named})

    def rows() -> "Iterator[pl.DataFrame]":
        for labels in batches:
            yield from joiner.join(labels).chunks()
        if not joiner.report.joined:
            raise InvalidInput(f"no label has a spec, so there is nothing to train on: {joiner.report}")

    write_table(rows(), arguments.out)
    output.note(f"{arguments.out}: {joiner.report}")
    if batches.runs_left_out:
        output.note(
            f"{counted(batches.runs_left_out, 'run')} left out: only pods that succeeded, with at least half of "
            "their time measured, are learned beside steps"
        )
    for text in joiner.report.warnings(features=arguments.features, labels=", ".join(named)):
        output.note(f"warning: {text}")
    return 0


def _labels(path: str) -> "TableFile | pl.DataFrame":
    from podpower.io.parquet import TableFile  # noqa: PLC0415
    from podpower.labels.table import COMMAND  # noqa: PLC0415

    return read_table(path, command=COMMAND) if path == streams.STANDARD else TableFile(path=path, command=COMMAND)
