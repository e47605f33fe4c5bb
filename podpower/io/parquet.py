"""Parquet files, written whole or not at all and read with a clear complaint; large ones row group by row group."""

import io
from collections.abc import Iterable

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from podpower.errors import InvalidInput
from podpower.io.files import AnyPath, atomic_file, is_local, read_bounded

MAX_BYTES = 8 << 30


def write_parquet(table: pl.DataFrame | Iterable[pl.DataFrame], path: AnyPath) -> int:
    """Put a table, or its parts one after another, at `path`; returns the number of rows. PodpowerError as
    `podpower.io.files.atomic_file`. Of parts at least one is needed: it may have no rows, but says the columns.
    """
    parts = iter([table] if isinstance(table, pl.DataFrame) else table)
    with atomic_file(path) as aside:
        first = _arrow(next(parts))
        rows = int(first.num_rows)
        # pyarrow and not polars: it tells of a full disk as an OSError.
        with pq.ParquetWriter(aside, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(_arrow(part).cast(first.schema))
                rows += len(part)
        return rows


def read_parquet(path: AnyPath) -> pl.DataFrame:
    """The table at `path`. InvalidInput when there is none, or it is no Parquet."""
    return parse_parquet(read_bounded(path, limit_bytes=MAX_BYTES), source=str(path))


def parse_parquet(data: bytes, *, source: str) -> pl.DataFrame:
    """The table in the bytes of a file. InvalidInput, naming `source`, when they are no Parquet."""
    try:
        return pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{source} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


def scan_parquet(path: AnyPath) -> pl.LazyFrame:
    """The table at `path`, read as far as it is used; from an object store it is fetched at once."""
    if is_local(UPath(path)):
        return pl.scan_parquet(str(path))
    return read_parquet(path).lazy()


def _arrow(table: pl.DataFrame) -> pa.Table:
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())
