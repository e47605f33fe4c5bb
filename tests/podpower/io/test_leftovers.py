"""Parts of files that killed writers left are removed, those of living writers are not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from podpower.io.files import write_atomically
from podpower.io.leftovers import part_of, remove_leftovers

WRITER = """
import sys, time
from podpower.io.files import atomic_file
with atomic_file(sys.argv[1]) as aside:
    aside.write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def killed_writer(target: Path) -> Path:
    """Kill a process while it writes; return the part that it left, as old as it takes."""
    with subprocess.Popen([sys.executable, "-c", WRITER, target], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        [part] = target.parent.glob(f".{target.name}.*.part")
        os.utime(part, (time.time() - 60, time.time() - 60))
        assert remove_leftovers(target.parent) == []  # its writer lives
        writer.send_signal(signal.SIGKILL)
    return part


def test_the_part_of_a_killed_writer_is_removed_at_the_next_start(tmp_path: Path) -> None:
    part = killed_writer(tmp_path / "a" / "b.parquet")
    assert part.exists()
    assert remove_leftovers(tmp_path) == [part]
    assert list((tmp_path / "a").iterdir()) == []


def test_the_part_of_a_killed_writer_is_removed_at_the_next_write(tmp_path: Path) -> None:
    part = killed_writer(tmp_path / "b.parquet")
    other = tmp_path / ".c.parquet.0a0a0a0a.part"
    other.touch()
    write_atomically(tmp_path / "b.parquet", b"whole")
    assert not part.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"b.parquet", other.name}


def test_a_fresh_part_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".a.00000000.part").touch()
    assert remove_leftovers(tmp_path) == []


def test_names_of_any_length_are_written(tmp_path: Path) -> None:
    with part_of(tmp_path / ("a" * 250)) as part:
        assert part.exists()
