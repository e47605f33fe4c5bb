"""`train_rows`: labels in batches, and the vectors of specs looked up by their keys.

A vector a row is nearly all of the table, and rows of one spec repeat it: of a million rows over a hundred thousand
specs a tenth of the vectors is needed. Rows are never addressed by their number: a file that another run replaced
would answer with the vector of another spec.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from podpower.datasets.hash_versions import VERSION_COLUMN
from podpower.datasets.renewal import renewed
from podpower.errors import InvalidInput
from podpower.io.parquet import TableFile
from podpower.io.places import AnyPath

if TYPE_CHECKING:
    from podpower.io.parquet import VerifiedFile

FEATURES = "features"
WIDTH = "vec_len"  # of the row's vector; null where it has none
COMMAND = "podpower join --features features.parquet --labels labels.parquet --out train_rows.parquet"
SPEC_HASH, FINGERPRINT = "_spec_hash", "encoder_fingerprint"
# The key of an entry: where a Node owns the pod, the pod itself is the workload.
KEYS = ("_cluster", "_namespace", "_kind", "_name", SPEC_HASH)
_KEYED = ("cluster", "namespace", "workload_kind", "workload_name", "pod", SPEC_HASH)
_BATCH_ROWS = 1 << 17  # without vectors; each batch has a cost of its own
_BATCH_VECTORS = 1 << 13
_MAX_VALUE = 1e6  # an encoder's are below ten


class TrainingRows(Protocol):
    """Rows of docs/reference/file-formats.md."""

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield all rows in batches, at least one, with WIDTH in place of the vectors."""

    def vectors(self, keys: pl.DataFrame) -> NDArray[np.float32]:
        """Return the vectors (n, dim) of the entries with these KEYS. InvalidInput where one is missing, not finite or
        of another width.
        """


def keyed() -> list[pl.Expr]:
    """Return KEYS of rows that have the columns of the reference system and `cluster`."""
    static = (pl.col("workload_kind") == "Node") & pl.col("pod").is_not_null()
    return [
        pl.col("cluster").fill_null("").alias("_cluster"),
        pl.col("namespace").fill_null("").alias("_namespace"),
        pl.when(static).then(pl.lit("Pod")).otherwise(pl.col("workload_kind")).fill_null("").alias("_kind"),
        pl.when(static).then(pl.col("pod")).otherwise(pl.col("workload_name")).fill_null("").alias("_name"),
        pl.col(SPEC_HASH).cast(pl.String),
    ]


def with_columns_of(rows: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Return `rows` with those of the columns that they lack, null."""
    return rows.with_columns(pl.lit(None, pl.String).alias(c) for c in columns if c not in rows.columns)


def training_rows(rows: "pl.DataFrame | TrainingRows") -> TrainingRows:
    """Return rows in memory as a table; those of files stay as they are."""
    return RowsInMemory(frame=rows) if isinstance(rows, pl.DataFrame) else rows


def read_training_rows(
    *tables: "AnyPath | TableFile", encoder_fingerprint: str | None = None, renewals: pl.DataFrame | None = None
) -> TrainingRows:
    """Return rows of files, read when they are used; of several encoders only those of one. Older spec hashes are
    replaced as `renewals` (podpower.datasets.renewal) has them. InvalidInput when a file is missing or no Parquet.
    """
    files = [t if isinstance(t, TableFile) else TableFile(path=t, command=COMMAND) for t in tables]
    for table in files:
        with table.parquet() as file:
            _check_vectors(file.schema_arrow.names)
            if FEATURES in file.schema_arrow.names:
                _check_type(file.schema_arrow.field(FEATURES).type)
    return RowsOfFiles(files=files, encoder_fingerprint=encoder_fingerprint, renewals=renewals)


@dataclass(frozen=True, kw_only=True)
class RowsInMemory:
    """Rows of one table in memory."""

    frame: pl.DataFrame

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the one batch."""
        _check_vectors(self.frame.columns)
        yield _light(self.frame)

    def vectors(self, keys: pl.DataFrame) -> NDArray[np.float32]:
        """Return the vectors of the entries with these KEYS."""
        found = _Vectors(keys)
        rows = with_columns_of(self.frame.drop_nulls(FEATURES), _KEYED).with_row_index("_row")
        at = found.missing_in(rows.select("_row", *keyed()))
        found.add(at["_at"].to_numpy(), rows[FEATURES].gather(at["_row"]).to_arrow())
        return found.matrix()


@dataclass(frozen=True, kw_only=True)
class RowsOfFiles:
    """Rows of Parquet files, read batch by batch. A vector is read where its key is first found."""

    files: Sequence[TableFile]
    encoder_fingerprint: str | None = None
    renewals: pl.DataFrame | None = None

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of one file after another."""
        for table in self.files:
            with table.parquet() as file:
                for frame in _batches(file, file.schema_arrow.names):
                    yield self._own(frame)

    def vectors(self, keys: pl.DataFrame) -> NDArray[np.float32]:
        """Return the vectors of the entries with these KEYS."""
        found = _Vectors(keys)
        for table in self.files:
            if found.complete:
                break
            with table.parquet() as file:
                names = [
                    name for name in (*_KEYED, VERSION_COLUMN, FINGERPRINT, WIDTH) if name in file.schema_arrow.names
                ]
                if WIDTH not in names:
                    names.append(FEATURES)
                for group in range(file.num_row_groups):
                    if not found.complete:
                        self._of_row_group(file, group, names, found)
        return found.matrix()

    def _of_row_group(self, file: "VerifiedFile", group: int, names: list[str], found: "_Vectors") -> None:
        parts = [
            with_columns_of(self._own(part.with_row_index("_row", offset=start)), _KEYED)
            .drop_nulls(WIDTH)
            .select("_row", *keyed())
            for start, part in _numbered(_batches(file, names, row_groups=[group]))
        ]
        at = found.missing_in(pl.concat(parts)).sort("_row")
        rows, start = at["_row"].to_numpy().astype(np.int64), 0
        if not len(rows):
            return
        for batch in file.iter_batches(batch_size=_BATCH_VECTORS, row_groups=[group], columns=[FEATURES]):
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            if last > first:
                vectors = batch.column(0).take(pa.array(rows[first:last] - start))
                found.add(at["_at"].to_numpy()[first:last], vectors)
            start += len(batch)

    def _own(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.encoder_fingerprint is not None:
            frame = with_columns_of(frame, [FINGERPRINT]).filter(pl.col(FINGERPRINT) == self.encoder_fingerprint)
        return frame if self.renewals is None else renewed(frame, self.renewals)


class _Vectors:
    """The vectors of some keys, as far as they are found."""

    def __init__(self, keys: pl.DataFrame) -> None:
        self._keys = keys.select(KEYS).with_row_index("_at")
        self._found = np.zeros(len(keys), dtype=bool)
        self._matrix: NDArray[np.float32] | None = None

    @property
    def complete(self) -> bool:
        return bool(self._found.all())

    def missing_in(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the first of `rows` for each key that is not found yet: its `_row` and the key's position `_at`."""
        missing = self._keys.filter(~pl.Series(self._found))
        first = rows.join(missing, on=KEYS, how="inner", nulls_equal=True).sort("_row")
        return first.unique("_at", keep="first", maintain_order=True).select("_row", "_at")

    def add(self, at: NDArray[np.uint32], vectors: pa.Array) -> None:
        if not len(at):
            return
        values = _as_matrix(vectors)
        if self._matrix is None:
            self._matrix = np.zeros((len(self._found), values.shape[1]), dtype=np.float32)
        if values.shape[1] != self._matrix.shape[1]:
            raise InvalidInput(_lengths([values.shape[1], self._matrix.shape[1]]))
        self._matrix[at], self._found[at] = values, True

    def matrix(self) -> NDArray[np.float32]:
        if self._matrix is None or not self.complete:
            missing = self._keys.filter(~pl.Series(self._found)).row(0, named=True)
            name = "/".join(str(missing[key]) for key in KEYS[1:4])
            raise InvalidInput(
                f"no vector of {name} (spec {missing[SPEC_HASH]:.12}): the rows changed while they were read, run again"
            )
        least, most = self._matrix.min(initial=0.0), self._matrix.max(initial=0.0)  # NaN where a value is
        if not -_MAX_VALUE <= least <= most <= _MAX_VALUE:
            raise InvalidInput(f"features hold values that are not finite, or over {_MAX_VALUE:g}: encode them again")
        return self._matrix


def _numbered(batches: Iterator[pl.DataFrame]) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield each batch with the number of rows before it."""
    start = 0
    for batch in batches:
        yield start, batch
        start += len(batch)


def _batches(
    file: "VerifiedFile", names: Sequence[str], *, row_groups: Sequence[int] | None = None
) -> Iterator[pl.DataFrame]:
    """Yield rows without vectors; these are only read where no column has their width. One empty batch of no rows."""
    light = [name for name in names if name != FEATURES or WIDTH not in names]
    size = _BATCH_VECTORS if FEATURES in light else _BATCH_ROWS
    pending: list[pl.DataFrame] = []
    empty = True
    for batch in file.iter_batches(batch_size=size, columns=light, row_groups=row_groups):
        empty = False
        pending.append(_light(pl.from_arrow(batch)))  # type: ignore[arg-type]
        if sum(map(len, pending)) >= _BATCH_ROWS:
            yield pl.concat(pending)
            pending = []
    if empty:
        pending.append(_light(pl.from_arrow(file.schema_arrow.empty_table().select(light))))  # type: ignore[arg-type]
    if pending:
        yield pl.concat(pending)


def _light(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with WIDTH in place of vectors."""
    if FEATURES not in frame.columns:
        return frame
    kind = frame.schema[FEATURES]
    if not isinstance(kind, pl.List | pl.Array):
        raise InvalidInput(f"column {FEATURES} must hold lists of numbers, not {kind}")
    features = pl.col(FEATURES)
    width = features.list.len() if isinstance(kind, pl.List) else pl.when(features.is_not_null()).then(kind.size)
    return frame.with_columns(width.cast(pl.Int64).alias(WIDTH)).drop(FEATURES)


def _check_vectors(names: Sequence[str]) -> None:
    if WIDTH in names and FEATURES not in names:
        raise InvalidInput(f"training rows have {WIDTH} and lack the column {FEATURES}: make them with `podpower join`")


def _check_type(kind: pa.DataType) -> None:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InvalidInput(f"column {FEATURES} must hold lists of numbers, not {kind}")


def _as_matrix(vectors: pa.Array) -> NDArray[np.float32]:
    """Return lists of equally many numbers as the rows of one matrix."""
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
    values = vectors.flatten().to_numpy(zero_copy_only=False)
    width, rest = divmod(len(values), len(vectors))
    if rest or not width or (not pa.types.is_fixed_size_list(vectors.type) and set(_widths(vectors)) != {width}):
        raise InvalidInput(_lengths(_widths(vectors)))
    matrix: NDArray[np.float32] = values.reshape(len(vectors), width).astype(np.float32, copy=False)
    return matrix


def _widths(vectors: pa.Array) -> list[int]:
    widths: list[int] = vectors.value_lengths().unique().to_pylist()
    return widths


def _lengths(widths: Iterable[int]) -> str:
    return f"features must all have one length, not {sorted(set(widths))}: encode them with one encoder"
