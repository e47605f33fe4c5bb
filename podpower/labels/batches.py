"""Labels of one or more files, batch by batch in bounded memory."""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.io.parquet import TableFile
from podpower.labels.pod_lives import is_learned_run
from podpower.labels.table import UNIQUE, check_unique, check_values, completed, in_schema, step_of

_BATCH_ROWS = 1 << 19
LabelFiles = Mapping[str, TableFile | pl.DataFrame]  # by their names in messages


class LabelBatches:
    """The labels of several files as one table: the columns of all of them, each file in the form of `read_labels`.

    Beside labels of steps, those of runs are what Dagster's rows have of them: `is_learned_run`. `runs_left_out` counts
    the others.
    """

    def __init__(self, files: LabelFiles) -> None:
        """InvalidInput where a file lacks columns, or a column has types that do not go together."""
        self._files = files
        empty = {name: in_schema(_empty(file), source=name) for name, file in files.items()}
        self._jobs = {name: "ts" not in _empty(file).columns for name, file in files.items()}
        self._mixed = len(set(self._jobs.values())) > 1
        self.runs_left_out = 0
        try:
            self._schema = pl.concat(empty.values(), how="diagonal_relaxed").schema
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f"{', '.join(files)}: columns of different types: {error}") from None

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the batches. Labels without a step have the spacing of their file's first batch.

        InvalidInput for labels that share pod and time is raised after the last batch.
        """
        hashes: list[NDArray[np.uint64]] = []
        for name, file in self._files.items():
            jobs, step_s = self._jobs[name], None
            for number, batch in enumerate(_batches(file)):
                whole = in_schema(batch, source=name)
                check_values(whole, jobs=jobs, source=name)
                if not jobs:
                    step_s = step_of(whole) if number == 0 else step_s
                    hashes.append(whole.select(pl.struct(UNIQUE).hash()).to_series().to_numpy())
                yield self._in_common(completed(whole, step_s=step_s), jobs=jobs)
        self._check_unique(np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64))

    def _in_common(self, labels: pl.DataFrame, *, jobs: bool) -> pl.DataFrame:
        """Return the labels with the columns of all files; of runs beside steps, the learned ones."""
        if jobs and self._mixed:
            kept = labels.filter(is_learned_run())
            self.runs_left_out += len(labels) - len(kept)
            labels = kept
        added = [pl.lit(None, kind).alias(name) for name, kind in self._schema.items() if name not in labels.columns]
        return labels.with_columns(*added).select(pl.col(name).cast(kind) for name, kind in self._schema.items())

    def _check_unique(self, hashes: NDArray[np.uint64]) -> None:
        twice = pl.Series(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
        if not len(twice):
            return
        steps = {name: file for name, file in self._files.items() if not self._jobs[name]}
        rows = [  # equal hashes can be of different labels
            in_schema(batch, source=name).filter(pl.struct(UNIQUE).hash().is_in(twice.implode())).select(UNIQUE)
            for name, file in steps.items()
            for batch in _batches(file)
        ]
        check_unique(pl.concat(rows), jobs=False, source=", ".join(steps))


def _batches(file: TableFile | pl.DataFrame) -> Iterator[pl.DataFrame]:
    if isinstance(file, pl.DataFrame):
        yield file
        return
    with file.parquet() as parquet:
        empty = True
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            empty = False
            yield pl.from_arrow(batch)  # type: ignore[misc]
        if empty:
            yield pl.from_arrow(parquet.schema_arrow.empty_table())  # type: ignore[misc]


def _empty(file: TableFile | pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a file, without rows."""
    if isinstance(file, pl.DataFrame):
        return file.clear()
    with file.parquet() as parquet:
        return pl.from_arrow(parquet.schema_arrow.empty_table())  # type: ignore[return-value]
