"""A lock excludes other processes, and ends with the process that holds it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podpower.errors import PodpowerError, Unavailable
from podpower.io.locks import lock

HOLDER = "import sys\nfrom pathlib import Path\nfrom podpower.io.locks import lock\n" + (
    "with lock(Path(sys.argv[1]), busy='busy'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_busy_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with held_elsewhere(path) as process:
        with pytest.raises(Unavailable, match="in use"):
            lock(path, busy="in use")
        process.kill()
        process.wait()
        with lock(path, busy="in use"):
            pass


def test_a_lock_excludes_within_a_process_too_and_can_be_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    first = lock(path, busy="in use")
    with pytest.raises(Unavailable):
        lock(path, busy="in use")
    began_s = time.monotonic()
    threading.Timer(0.3, first.release).start()
    with lock(path, wait_seconds=30.0, busy="in use"):
        assert time.monotonic() - began_s >= 0.2


def test_locking_a_file_leaves_its_content(tmp_path: Path) -> None:
    path, link = tmp_path / "output.ndjson", tmp_path / "link"
    path.write_text("line\n")
    link.symlink_to(path)
    with lock(link, busy="in use"):
        assert path.read_text() == "line\n"
        with pytest.raises(Unavailable):
            lock(path, busy="in use")
    assert path.read_text() == "line\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "output.ndjson"]


def test_a_place_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(PodpowerError, match="cannot lock"):
        lock(tmp_path, busy="in use")
