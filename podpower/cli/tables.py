"""Read and write Parquet; `-` is standard input or output."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from podpower.cli import streams
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl

    from podpower.datasets.tables import TrainingRows
    from podpower.datasets.training_set import TrainingSet


def read_table(path: str, *, command: str) -> "pl.DataFrame":
    """Return the table of a file or of standard input, which `command` makes. InvalidInput as `TableFile`."""
    from podpower.io.parquet import TableFile  # noqa: PLC0415  # polars is an extra

    file = TableFile(path=streams.display_name(path), command=command)
    return file.parse(streams.read_bytes(path)) if path == streams.STANDARD else file.read()


def read_rows(path: str) -> "TrainingRows":
    """Read `train_rows.parquet` from a file, whose vectors are read when they are used, or from standard input."""
    from podpower.datasets.tables import COMMAND, read_training_rows, training_rows  # noqa: PLC0415

    return training_rows(read_table(path, command=COMMAND)) if path == streams.STANDARD else read_training_rows(path)


def read_training_set(path: str, *, target: str | None = None) -> "TrainingSet":
    """Read the training set of `train_rows.parquet`. InvalidInput, with the name of the file, when it has none."""
    from podpower.datasets.training_set import TrainingSet  # noqa: PLC0415

    name = streams.display_name(path)
    try:
        return TrainingSet.of(read_rows(path), target=target)
    except InvalidInput as error:
        if name in str(error):
            raise
        raise InvalidInput(f"{name}: {error}") from error


def write_table(table: "pl.DataFrame | Iterable[pl.DataFrame]", out: str) -> None:
    """Write a table, or its parts, as Parquet to a file, whole or not at all; or to standard output."""
    from podpower.io.parquet import write_parquet, write_parquet_to  # noqa: PLC0415  # polars is an extra

    if out == streams.STANDARD:
        write_parquet_to(streams.standard_output(), table)
    else:
        write_parquet(table, out)


def write_output(data: bytes, out: str) -> None:
    """Write `data` to a file, atomically, its folder made if needed; or to standard output."""
    from podpower.io.files import write_atomically  # noqa: PLC0415

    if out == streams.STANDARD:
        streams.standard_output().write(data)
        return
    write_atomically(out, data)
