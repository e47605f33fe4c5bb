from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import InvalidInput
from podpower.io.parquet import TableFile, write_parquet

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


def test_parts_make_one_table_in_which_small_ones_share_a_row_group(tmp_path: Path) -> None:
    assert write_parquet(TABLE.iter_slices(1), tmp_path / "t.parquet") == 3
    assert_frame_equal(table_file(tmp_path / "t.parquet").scan().collect(), TABLE)
    assert pq.read_metadata(tmp_path / "t.parquet").num_row_groups == 1


def test_large_parts_have_row_groups_of_their_own(tmp_path: Path) -> None:
    large = pl.DataFrame({"value": pl.arange(1 << 20, eager=True)})  # 8 MiB
    write_parquet([large, large], tmp_path / "t.parquet")
    assert pq.read_metadata(tmp_path / "t.parquet").num_row_groups == 2


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_parquet(TABLE.clear(), tmp_path / "t.parquet")
    assert_frame_equal(table_file(tmp_path / "t.parquet").read(), TABLE.clear())


def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def parts() -> Iterator[pl.DataFrame]:
        yield TABLE
        raise InvalidInput("no more")

    with pytest.raises(InvalidInput):
        write_parquet(parts(), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"name,pod\n"])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"t\.parquet is not a readable Parquet file"):
        table_file(tmp_path / "t.parquet").read()
