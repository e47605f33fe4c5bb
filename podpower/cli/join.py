"""`podpower join`: labels with the spec in force at their step."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, add_command
from podpower.cli.tables import read_table, write_table
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "join",
        run,
        summary="Join labels to the spec that was in force at their step: one row for each label that has a spec.",
        details="  podpower join --features features.parquet --labels labels.parquet --out train_rows.parquet\n",
    )
    parser.add_argument("--features", required=True, metavar="FILE", help="features.parquet of `encode transform`")
    parser.add_argument(
        "--labels", required=True, metavar="FILE", help="labels.parquet of `label`, or of the k8sPodPCP exporter"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write train_rows.parquet")


def run(arguments: argparse.Namespace) -> int:
    """Join, write the rows, and print the labels that did not join."""
    from podpower.datasets.join import Joiner  # noqa: PLC0415
    from podpower.features import table as features_table  # noqa: PLC0415
    from podpower.io.parquet import TableFile  # noqa: PLC0415
    from podpower.labels import table as labels_table  # noqa: PLC0415

    streams.check_output(arguments.out, inputs=[arguments.features, arguments.labels])
    streams.check_inputs(arguments.features, arguments.labels)
    features = features_table.checked_features(
        read_table(arguments.features, command=features_table.COMMAND),
        source=streams.display_name(arguments.features),
    )
    joiner = Joiner(features)

    def rows() -> "Iterator[pl.DataFrame]":
        source = streams.display_name(arguments.labels)
        if arguments.labels == streams.STANDARD:
            whole = read_table(arguments.labels, command=labels_table.COMMAND)
            batches = iter([labels_table.checked_labels(whole, source=source)])
        else:
            file = TableFile(path=arguments.labels, command=labels_table.COMMAND)
            batches = labels_table.checked_batches(file, source=source)
        for labels in batches:
            yield from joiner.join(labels).chunks()
        if not joiner.report.joined:
            raise InvalidInput(f"no label has a spec, so there is nothing to train on: {joiner.report}")

    write_table(rows(), arguments.out)
    output.note(f"{arguments.out}: {joiner.report}")
    for text in joiner.report.warnings(features=arguments.features, labels=arguments.labels):
        output.note(f"warning: {text}")
    return 0
