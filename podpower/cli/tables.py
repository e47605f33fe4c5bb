"""Parquet files of the commands, `-` for standard input and output."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import streams

if TYPE_CHECKING:
    import polars as pl

    from podpower.datasets.tables import TrainingRows


def read_table(path: str) -> "pl.DataFrame":
    """A Parquet file or standard input; InvalidInput when it is not there or not Parquet."""
    from podpower.io.parquet import parse_parquet  # noqa: PLC0415  # polars is an extra

    return parse_parquet(streams.read_bytes(path), source=streams.display_name(path))


def read_rows(path: str) -> "TrainingRows":
    """`train_rows.parquet` of a file, whose vectors stay there until they are asked for, or of standard input."""
    from podpower.datasets.tables import read_training_rows, training_rows  # noqa: PLC0415

    return training_rows(read_table(path)) if path == streams.STANDARD else read_training_rows(path)


def write_table(table: "pl.DataFrame | Iterable[pl.DataFrame]", out: str) -> None:
    """Write a table, or its parts, as Parquet to a file, whole or not at all; or to standard output."""
    from podpower.io.parquet import write_parquet  # noqa: PLC0415  # polars is an extra

    if out != streams.STANDARD:
        write_parquet(table, Path(out))
        return
    import polars as pl  # noqa: PLC0415

    buffer = io.BytesIO()
    (table if isinstance(table, pl.DataFrame) else pl.concat(table)).write_parquet(buffer)
    streams.standard_output().write(buffer.getvalue())


def write_output(data: bytes, out: str) -> None:
    """Write `data` to a file, atomically, its folder made if needed; or to standard output."""
    from podpower.io.files import write_atomically  # noqa: PLC0415

    if out == streams.STANDARD:
        streams.standard_output().write(data)
        return
    write_atomically(Path(out), data)
