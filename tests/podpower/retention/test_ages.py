"""What is older than its days is removed, and counted; everything else stays."""

import os
import time
from pathlib import Path

import pytest
from upath import UPath

from podpower.errors import Damaged
from podpower.hours import DAY_S
from podpower.io.files import exists, write_atomically
from podpower.io.places import place
from podpower.io.set_aside import set_aside
from podpower.retention.ages import prune_reports, prune_tables

NOW_S = 1767225600.0 + 10 * DAY_S  # 2026-01-11T00:00:00Z


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_old_partitions_of_every_cluster_are_removed_and_counted(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = place(tmp_path / "tables" if where == "folder" else f"{request.getfixturevalue('s3_url')}/tables")
    old = ["features/2026-01-03-2300.parquet", "eu-2/kepler_labels/2026-01-01-0000.verdict.json",
           "features/damaged/2026-01-02-0000.0a1b2c3d.parquet", "knn_model/2026-01-03.verdict.json"]  # fmt: skip
    kept = [
        "features/2026-01-04-0000.parquet", "features/2026-01-10-2300.parquet", "encoder/encoder.joblib",
        "features/notes-2020.parquet", "features/2026-99-99-0000.parquet", "knn_model/2026-01-10.verdict.json",
        "model_evaluation/2026-01-10.html",
        "model_evaluation/2025-01-01.html",
    ]  # fmt: skip
    for name in (*old, *kept):
        write_atomically(root / name, b"12345")
    removed = prune_tables(str(root), keep_days=2, now_s=NOW_S)
    assert (removed.files, removed.size_bytes) == (4, 20)
    assert [name for name in (*old, *kept) if exists(root / name)] == kept
    assert prune_tables(str(root), keep_days=2, now_s=NOW_S).files == 0
    assert prune_reports(str(root), keep_days=1, now_s=NOW_S).files == 1
    assert [name for name in kept if exists(root / name)] == kept[:-1]


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_damaged_files_of_no_partition_are_removed_when_they_were_set_aside_long_ago(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = place(tmp_path / "tables" if where == "folder" else f"{request.getfixturevalue('s3_url')}/tables")
    path = root / "encoder" / "encoder.joblib"
    write_atomically(path, b"12345")
    if where == "folder":
        os.utime(path, (0, 0))  # written long before it was damaged
    moved = set_aside(path, refuse)
    assert moved is not None
    now_s = time.time()
    assert prune_tables(str(root), keep_days=7, now_s=now_s + 6 * DAY_S).files == 0
    assert exists(moved)
    removed = prune_tables(str(root), keep_days=7, now_s=now_s + 8 * DAY_S)
    assert (removed.files, removed.size_bytes, exists(moved)) == (1, 5, False)


@pytest.mark.parametrize("jumped", [False, True], ids=["nothing made since", "an hour made in the future"])
def test_a_clock_that_jumps_ahead_removes_none_of_the_days_that_are_kept(tmp_path: Path, jumped: bool) -> None:
    names = [f"features/2026-01-{day:02}-{hour:02}00.parquet" for day in range(1, 11) for hour in range(24)]
    for name in (*names, *(["features/2026-02-20-0000.parquet"] if jumped else [])):
        write_atomically(tmp_path / name, b"x")
    ahead_s = NOW_S + 40 * DAY_S
    assert prune_tables(tmp_path, keep_days=7, now_s=ahead_s).files == (4 if jumped else 3) * 24
    assert [name for name in names if exists(place(tmp_path) / name)] == names[(4 if jumped else 3) * 24 :]


def refuse(path: UPath) -> None:
    raise Damaged(str(path))


def test_nothing_is_pruned_where_there_is_nothing(tmp_path: Path) -> None:
    assert prune_tables(tmp_path / "none", keep_days=1, now_s=NOW_S).files == 0
    assert not (tmp_path / "none").exists()


def test_pruning_removes_what_killed_writers_left(tmp_path: Path) -> None:
    part = tmp_path / "features" / ".2026-01-04-0000.parquet.00000000.part"
    write_atomically(tmp_path / "features" / "2026-01-10-0000.parquet", b"x")
    part.touch()
    os.utime(part, (time.time() - 60, time.time() - 60))
    prune_tables(tmp_path, keep_days=7, now_s=NOW_S)
    assert not part.exists()
