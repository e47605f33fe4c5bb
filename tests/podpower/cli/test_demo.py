"""`podpower demo` as `make demo` runs it, of fewer hours: Dagster, a real server, HTTP; nothing is left running."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from podpower.cli import main
from podpower.registry.store import ModelStore


def demo(home, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PODPOWER_", "DAGSTER_"))}
    command = [sys.executable, "-m", "podpower", "demo", "--home", str(home), "--hours", "3"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def left_running(home):
    """Processes that name the demo's home in their command or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(home) in text for text in [*process.cmdline(), *process.environ().values()]):
                found.append(process.pid)
        except psutil.Error:  # gone, or not ours to see
            continue
    return found


@pytest.mark.timeout(900)
def test_the_demo_prints_predictions_and_leaves_nothing_running(tmp_path):
    child = demo(tmp_path / "home")
    out, err = child.communicate(timeout=800)
    assert child.returncode == 0, err
    lines = out.splitlines()
    assert any(line.startswith("shop/shop-web") and " Deployment " in line for line in lines)
    assert any(line.startswith("total") for line in lines)
    assert "4/4 predict" in err
    store = ModelStore(tmp_path / "home" / "models")
    assert store.served() is not None
    assert left_running(tmp_path / "home") == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(number, tmp_path):
    child = demo(tmp_path / "home")
    deadline = time.monotonic() + 240
    while not (tmp_path / "home" / "logs" / "dagster.log").exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(number)
    _, err = child.communicate(timeout=240)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert left_running(tmp_path / "home") == []


def test_a_folder_with_other_things_in_it_is_not_emptied(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("all of it")
    assert main(["demo", "--home", str(tmp_path)]) == 1
    assert "not the demo's" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()
