"""Parquet files of the commands: read with a clear complaint, written whole or not at all."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import streams
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl


def read_table(path: str) -> "pl.DataFrame":
    """A Parquet file or standard input; InvalidInput when it is not there or not Parquet."""
    import polars as pl  # noqa: PLC0415  # an extra

    try:
        return pl.read_parquet(io.BytesIO(streams.read_bytes(path)))
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"{streams.display_name(path)} is not a Parquet file: {error}") from error


def write_table(table: "pl.DataFrame", out: str) -> None:
    """Write `table` as Parquet to a file, atomically, its folder made if needed; or to standard output."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_output(buffer.getvalue(), out)


def write_output(data: bytes, out: str) -> None:
    """Write `data` to a file, atomically, its folder made if needed; or to standard output."""
    from podpower.files import write_atomically  # noqa: PLC0415

    if out == streams.STANDARD:
        streams.standard_output().write(data)
        return
    write_atomically(Path(out), data)
