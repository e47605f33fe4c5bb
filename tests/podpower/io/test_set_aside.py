"""Damaged files, moved out of the way of their readers."""

import pytest

from podpower.errors import Damaged
from podpower.io.places import place
from podpower.io.set_aside import setting_aside


def still_damaged(moved):
    raise Damaged(f"{moved} is damaged")


def test_a_damaged_file_is_moved_and_the_error_shows_where(tmp_path):
    path = place(str(tmp_path / "hour.parquet"))
    path.write_bytes(b"broken")
    kept = r"hour\.parquet is damaged; kept as .*/damaged/hour\.[0-9a-f]{8}\.parquet; make it again with: run"
    with pytest.raises(Damaged, match=kept), setting_aside(path, still_damaged):
        raise Damaged(f"{path} is damaged; make it again with: run")
    assert not path.exists()


def test_a_file_that_was_replaced_by_a_whole_one_meanwhile_stays(tmp_path):
    path = place(str(tmp_path / "hour.parquet"))
    path.write_bytes(b"whole")
    with pytest.raises(Damaged, match=r"hour\.parquet was damaged$"), setting_aside(path, lambda _moved: None):
        raise Damaged(f"{path} was damaged")
    assert path.read_bytes() == b"whole"
