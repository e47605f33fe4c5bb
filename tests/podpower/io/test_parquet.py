import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import InvalidInput
from podpower.io.parquet import TableFile, recorded_digest, write_parquet

TABLE = pl.DataFrame(
    {
        "name": ["a", None, "c"],
        "features": pl.Series([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=pl.List(pl.Float32)),
        "pods": [[{"pod": "p", "from_s": 1.0}], [], None],
    }
)


def table_file(path: Path) -> TableFile:
    return TableFile(path=path, command="make it")


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    assert write_parquet(TABLE, tmp_path / "t.parquet") == 3
    assert_frame_equal(table_file(tmp_path / "t.parquet").read(), TABLE)


@pytest.mark.parametrize("rows", [1, 70_000, 300_000])
def test_row_groups_and_bytes_do_not_depend_on_the_parts(tmp_path: Path, rows: int) -> None:
    large = pl.concat([TABLE] * 40_000)
    whole, parted = tmp_path / "whole.parquet", tmp_path / "parted.parquet"
    table = TABLE if rows == 1 else large
    assert write_parquet(table, whole) == write_parquet(table.iter_slices(rows), parted) == len(table)
    assert_frame_equal(table_file(parted).scan().collect(), table)
    assert pq.read_metadata(parted).num_row_groups == -(-len(table) // 50_000)
    assert recorded_digest(parted) == recorded_digest(whole)
    assert parted.read_bytes() == whole.read_bytes()


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_parquet(TABLE.clear(), tmp_path / "t.parquet")
    assert_frame_equal(table_file(tmp_path / "t.parquet").read(), TABLE.clear())


@pytest.mark.parametrize("error", [InvalidInput("no more"), KeyboardInterrupt()], ids=repr)
def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def parts() -> Iterator[pl.DataFrame]:
        yield TABLE
        raise error

    with pytest.raises(type(error)) as caught:
        write_parquet(parts(), tmp_path / "t.parquet")
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_other_columns_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(pl.exceptions.PolarsError):
        write_parquet([TABLE, TABLE.drop("name"), TABLE], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


_FILLS_THE_DISK = """
import resource, sys
import polars as pl
from podpower.errors import PodpowerError
from podpower.io.parquet import write_parquet
made = []
def parts():
    for number in range(int(sys.argv[2])):
        made.append(number)
        yield pl.DataFrame({"value": pl.int_range(100_000, eager=True).hash(number)})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_parquet(parts(), sys.argv[1])
except PodpowerError as error:
    print(len(made), error)
"""


@pytest.mark.parametrize("parts", [1, 1000])
def test_a_full_disk_is_an_error_that_ends_the_making_of_parts(tmp_path: Path, parts: int) -> None:
    arguments = [sys.executable, "-c", _FILLS_THE_DISK, str(tmp_path / "t.parquet"), str(parts)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    made, _, message = done.stdout.partition(" ")
    assert message.startswith("no room to write"), done.stdout
    assert int(made) < 100
    assert list(tmp_path.iterdir()) == []


def test_writing_and_reading_load_no_pyarrow(tmp_path: Path) -> None:
    code = """
import sys
import polars as pl
from podpower.io.parquet import TableFile, write_parquet
write_parquet(pl.DataFrame({"a": [1.0]}), sys.argv[1])
assert len(TableFile(path=sys.argv[1], command="make it").read()) == 1
assert "pyarrow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.parquet")], check=True, timeout=120)


def test_a_table_is_written_with_one_thread_too(tmp_path: Path) -> None:
    code = """
import sys
import polars as pl
from podpower.io.parquet import write_parquet
def parts():
    for number in range(20):
        table = pl.LazyFrame({"a": range(10_000)}).group_by(pl.col("a") % 1000).len().sort("a")
        yield pl.concat([table.collect(engine="streaming"), table.collect()])
assert pl.thread_pool_size() == 1
assert write_parquet(parts(), sys.argv[1]) == 40_000
"""
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "t.parquet")]
    subprocess.run(command, check=True, timeout=120, env=environment)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"name,pod\n"])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"t\.parquet is not a readable Parquet file"):
        table_file(tmp_path / "t.parquet").read()
