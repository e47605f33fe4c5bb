import numpy as np
import polars as pl
import pytest

from podpower.datasets.tables import read_training_rows
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.io.parquet import write_parquet


def test_rows_of_a_file_are_those_of_memory(tmp_path, rows):
    write_parquet([rows[:100], rows[100:]], tmp_path / "rows.parquet")
    here, there = (
        TrainingSet.of(rows).examples(),
        TrainingSet.of(read_training_rows(tmp_path / "rows.parquet")).examples(),
    )
    np.testing.assert_array_equal(there.entries.vectors, here.entries.vectors)
    np.testing.assert_array_equal(there.power_w, here.power_w)
    assert there.entries.workloads == here.entries.workloads


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path, rows: None, "no such file"),
        (lambda path, rows: path.write_bytes(b"not parquet"), "not a readable Parquet file"),
        (lambda path, rows: rows.drop("features").write_parquet(path), "lack the column"),
        (lambda path, rows: rows.with_columns(features=pl.lit("x")).write_parquet(path), "lists of numbers"),
        (lambda path, rows: rows[:0].write_parquet(path), "no row with a known label"),
        (
            lambda path, rows: rows.with_columns(features=pl.lit([float("nan")] * 4)).write_parquet(path),
            "not finite",
        ),
    ],
    ids=["absent", "garbage", "no vectors", "text", "empty", "NaN"],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, rows, spoil, message):
    path = tmp_path / "rows.parquet"
    spoil(path, rows)
    with pytest.raises(InvalidInput, match=message):
        TrainingSet.of(read_training_rows(path)).examples()
