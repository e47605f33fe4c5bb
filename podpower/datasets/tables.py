"""`train_rows`: the labels in memory, the vectors where they are until they are asked for.

A vector a row is nearly all of the table, and rows of one spec repeat it: of a million rows over a hundred thousand
specs a tenth of the vectors is needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from podpower.datasets.join import FEATURES, ROW, WIDTH
from podpower.errors import InvalidInput
from podpower.io.files import AnyPath
from podpower.io.parquet import TableFile

COMMAND = "podpower join --features features.parquet --labels labels.parquet --out train_rows.parquet"
_BATCH_ROWS = 8192
_MAX_VALUE = 1e6  # an encoder's are below ten
_ROW_BITS = 40  # of a row's number for its place in a file; the file is counted above them

E = TypeVar("E", pl.Expr, pl.Series)


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Rows of docs/reference/file-formats.md without the column of vectors, with ROW and WIDTH; `fetch` gives the
    vectors (n, dim) of ascending values of ROW. InvalidInput where those are of several widths or not finite.
    """

    frame: pl.DataFrame
    fetch: Callable[[NDArray[np.int64]], NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.frame)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (n, dim) at these values of ROW, in this order."""
        distinct, where = np.unique(rows, return_inverse=True)
        matrix = self.fetch(distinct)
        if not (np.abs(matrix) <= _MAX_VALUE).all():  # nor is NaN
            raise InvalidInput(f"features hold values that are not finite, or over {_MAX_VALUE:g}: encode them again")
        return matrix if np.array_equal(distinct, rows) else matrix[where]

    def where(self, condition: pl.Expr) -> "TrainingRows":
        """The rows for which it holds."""
        return TrainingRows(frame=self.frame.filter(condition), fetch=self.fetch)


def training_rows(rows: pl.DataFrame | TrainingRows) -> TrainingRows:
    """Rows in memory; those that are already taken apart stay as they are."""
    if isinstance(rows, TrainingRows):
        return rows
    if FEATURES not in rows.columns:
        return TrainingRows(frame=rows.with_row_index(ROW), fetch=_no_vectors)
    _check_type(rows.schema[FEATURES])
    features = rows[FEATURES]
    frame = rows.drop(FEATURES).with_columns(_width(features.dtype, features).alias(WIDTH)).with_row_index(ROW)
    return TrainingRows(frame=frame, fetch=lambda at: _matrix([features.gather(at).to_arrow()]))


def read_training_rows(path: AnyPath) -> TrainingRows:
    """The rows of a file, whose vectors stay there. InvalidInput when there is none, or it is no Parquet."""
    file = TableFile(path=path, command=COMMAND)
    table = file.scan().with_row_index(ROW)
    with file.readable():
        if FEATURES in (schema := table.collect_schema()):
            _check_type(schema[FEATURES])
            table = table.with_columns(_width(schema[FEATURES], pl.col(FEATURES)).alias(WIDTH)).drop(FEATURES)
        frame = table.collect(engine="streaming")
    return TrainingRows(frame=frame, fetch=lambda at: _fetched(file, at))


def rows_of_files(parts: Sequence[tuple[TableFile, pl.DataFrame]]) -> TrainingRows:
    """Rows of several files, as `podpower.datasets.join.condensed` gives them, whose vectors stay there."""
    frames = [frame.with_columns(pl.col(ROW).cast(pl.Int64) + (n << _ROW_BITS)) for n, (_, frame) in enumerate(parts)]
    files = [file for file, _ in parts]

    def fetch(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        numbers, found = rows >> _ROW_BITS, []
        for number in np.unique(numbers):
            within = rows[numbers == number] & ((1 << _ROW_BITS) - 1)
            found.append(_fetched(files[int(number)], within))
        if len({matrix.shape[1] for matrix in found}) > 1:
            raise InvalidInput("features must all have one length: encode them with one encoder")
        return np.concatenate(found)

    return TrainingRows(frame=pl.concat(frames, how="diagonal_relaxed"), fetch=fetch)


def _width(kind: pl.DataType, features: E) -> E:
    return features.list.len() if isinstance(kind, pl.List) else features.arr.len()


def _check_type(kind: pl.DataType) -> None:
    if not isinstance(kind, pl.List | pl.Array):
        raise InvalidInput(f"column {FEATURES} must hold lists of numbers, not {kind}")


def _no_vectors(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    raise InvalidInput(f"training rows lack the column {FEATURES}: make them with `podpower join` ({len(rows)} asked)")


def _fetched(file: TableFile, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    found, start = [], 0
    for batch in file.column(FEATURES, batch_rows=_BATCH_ROWS):
        first, last = np.searchsorted(rows, (start, start + len(batch)))
        if last > first:
            found.append(batch.take(pa.array(rows[first:last] - start)))
        start += len(batch)
    return _matrix(found)


def _matrix(parts: list[pa.Array]) -> NDArray[np.float32]:
    """Lists of equally many numbers as the rows of one matrix."""
    widths = set()
    for part in parts:
        widths |= {part.type.list_size} if pa.types.is_fixed_size_list(part.type) else set(_lengths(part))
    if len(widths) != 1 or 0 in widths:
        shown = sorted(width for width in widths if width is not None)
        raise InvalidInput(f"features must all have one length, not {shown}: encode them with one encoder")
    width = widths.pop()
    matrix = np.empty((sum(len(part) for part in parts), width), dtype=np.float32)
    start = 0
    for part in parts:
        values = part.flatten().to_numpy(zero_copy_only=False)
        matrix[start : start + len(part)] = values.reshape(len(part), width)
        start += len(part)
    return matrix


def _lengths(lists: pa.Array) -> list[int]:
    lengths: list[int] = pc.list_value_length(lists).unique().to_pylist()
    return lengths
