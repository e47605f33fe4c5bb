"""A damaged partition stops what reads it, and the command in the error makes the partition again."""

import random
import shlex
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import Damaged, InvalidInput
from podpower.io.parquet import TableFile
from podpower_assets.model.window import window_rows
from tests.assets.conftest import DAY, HOURS, Place

HOURLY = ("workload_specs", "features", "kepler_labels", "training_rows")


def batches(table: TableFile) -> pl.DataFrame:
    with table.parquet() as file:
        return pl.concat(pl.DataFrame(pl.from_arrow(batch)) for batch in file.iter_batches(batch_size=50))


@pytest.mark.parametrize("asset", HOURLY)
def test_no_flipped_bit_of_a_partition_passes(made: Place, asset: str) -> None:
    chance = random.Random(asset)
    file = made.tables.file(asset, HOURS[0])
    path = Path(str(file.path))
    whole = path.read_bytes()
    readers = [
        lambda: made.tables.read(asset, HOURS[0]),
        lambda: made.tables.scan(asset, HOURS[0]),
        lambda: batches(file),
    ]
    try:
        for number in range(60):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(InvalidInput) as caught:
                readers[number % 3]()
            for part in (str(path), f"partition {HOURS[0]} of {asset}", f"--select {asset} --partition {HOURS[0]}"):
                assert part in str(caught.value)
    finally:
        path.write_bytes(whole)


def test_rows_that_are_damaged_while_they_are_trained_on_stop_the_training(made: Place) -> None:
    encoder = made.tables.encoder()
    assert encoder is not None
    rows, _ = window_rows([made.tables], DAY, window_days=1, encoder=encoder)
    path = Path(str(made.tables.path("training_rows", HOURS[1])))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    try:
        with pytest.raises(Damaged, match=f"partition {HOURS[1]} of training_rows, is damaged"):
            list(rows.batches())
    finally:
        path.write_bytes(whole)


def test_an_asset_fails_with_the_name_of_the_damaged_partition(made: Place) -> None:
    path = Path(str(made.tables.path("kepler_labels", HOURS[0])))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        result = made.materialize("training_rows", first=HOURS[0])
        [failure] = [event for event in result.all_events if event.is_step_failure]
        assert f"partition {HOURS[0]} of kepler_labels, is damaged" in str(failure.step_failure_data.error)
    finally:
        path.write_bytes(whole)


def test_partitions_without_checksums_are_read_as_they_are(made: Place) -> None:
    path = Path(str(made.tables.path("training_rows", HOURS[0])))
    whole, table = path.read_bytes(), made.tables.read("training_rows", HOURS[0])
    assert table is not None
    table.write_parquet(path)
    try:
        read, scanned = made.tables.read("training_rows", HOURS[0]), made.tables.scan("training_rows", HOURS[0])
        assert read is not None
        assert scanned is not None
        assert_frame_equal(read, table)
        assert_frame_equal(scanned.collect(), table)
        assert_frame_equal(batches(made.tables.file("training_rows", HOURS[0])), table)
    finally:
        path.write_bytes(whole)


def test_the_command_in_the_error_makes_the_partition_again(recording: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with dg.instance_for_test() as instance:
        place = Place(instance, recording, home)
        assert place.materialize("workload_specs", first=HOURS[0]).success
        path = Path(str(place.tables.path("workload_specs", HOURS[0])))
        whole = place.tables.read("workload_specs", HOURS[0])
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InvalidInput) as caught:
            place.tables.read("workload_specs", HOURS[0])
        command = shlex.split(str(caught.value).partition("make it again with: ")[2])
        assert command[0] == "dagster"
        (tmp_path / "dagster").mkdir()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("dagster")), *command[1:]],
            env={
                "PODPOWER_HOME": str(home),
                "PODPOWER_RECORDING": str(recording),
                "DAGSTER_HOME": str(tmp_path / "dagster"),
                "PATH": "/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        again = place.tables.read("workload_specs", HOURS[0])
        assert whole is not None
        assert again is not None
        assert_frame_equal(again, whole)
