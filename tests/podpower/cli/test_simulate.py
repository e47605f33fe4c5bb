"""`podpower simulate`, as processes."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import until


def test_a_recording_is_continued_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Two mixed their samples in the same files, each from counters of its own."""
    command = [sys.executable, "-m", "podpower", "simulate", "--out", str(tmp_path / "recording"), "--follow"]
    command += ["--hours", "1", "--workloads", "4"]
    with (tmp_path / "first.log").open("wb") as log, subprocess.Popen(command, stderr=log) as first:
        until(lambda: "continuing in real time" in (tmp_path / "first.log").read_text())
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        first.terminate()
    assert second.returncode == 1
    assert second.stderr.startswith("error: another `podpower simulate --follow` continues ")
    third = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with third:
        assert third.stderr is not None
        assert "continuing in real time" in third.stderr.readline()
        third.terminate()
