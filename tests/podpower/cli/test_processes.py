import contextlib
import os
import socket
import sys
import time

import psutil
import pytest

from podpower.cli import processes
from podpower.cli.processes import Processes
from podpower.errors import PodpowerError, Unavailable


def python(code):
    return [sys.executable, "-c", code]


@pytest.fixture
def children(tmp_path):
    with Processes(logs=tmp_path / "logs", environment=os.environ) as started:
        yield started


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def test_leaving_the_block_stops_children_and_what_they_started(tmp_path):
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    with contextlib.suppress(KeyboardInterrupt), Processes(logs=tmp_path, environment=os.environ) as children:
        children.start("parent", python(code))
        grandchild = wait_for(tmp_path / "pid")
        assert psutil.pid_exists(grandchild)
        raise KeyboardInterrupt
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_ignores_the_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.5)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write('1'); time.sleep(600)"
    )
    with Processes(logs=tmp_path, environment=os.environ) as children:
        children.start("deaf", python(code))
        wait_for(tmp_path / "pid")
        started = time.monotonic()
    assert time.monotonic() - started < 10


def test_a_child_that_ends_is_told_with_the_end_of_its_log(children):
    children.start("broken", python("print('the reason'); raise SystemExit(3)"))
    with pytest.raises(Unavailable, match=r"broken ended with exit code 3: the reason"):
        children.wait_until(lambda: False, what="it", timeout_seconds=20)


def test_waiting_ends_in_time(children):
    children.start("slow", python("import time; time.sleep(600)"))
    with pytest.raises(Unavailable, match=r"the thing did not answer within 0.2 s"):
        children.wait_until(lambda: False, what="the thing", timeout_seconds=0.2)


def test_a_run_returns_when_done_and_raises_when_it_failed(children, tmp_path):
    children.run("fine", python(f"open({str(tmp_path / 'done')!r}, 'w')"))
    assert (tmp_path / "done").exists()
    with pytest.raises(PodpowerError, match="wrong failed: no such thing"):
        children.run("wrong", python("raise SystemExit('no such thing')"))


def test_ports():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert not processes.is_free(taken)
        assert not processes.answers(f"http://127.0.0.1:{processes.free_port()}/")
    assert processes.is_free(processes.free_port())
