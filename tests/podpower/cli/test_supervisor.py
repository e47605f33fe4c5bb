import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from podpower.cli import ports, supervisor
from podpower.cli.supervisor import Need, Processes
from podpower.errors import PodpowerError, Unavailable
from tests.waiting import until


def python(code):
    return [sys.executable, "-c", code]


@pytest.fixture
def children(tmp_path):
    with Processes(logs=tmp_path / "logs", environment=os.environ) as started:
        yield started


def wait_for(path):
    until(lambda: path.exists() and path.read_text().strip())
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
    monkeypatch.setattr(supervisor, "_STOP_SECONDS", 0.5)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write('1'); time.sleep(600)"
    )
    with Processes(logs=tmp_path, environment=os.environ) as children:
        children.start("deaf", python(code))
        wait_for(tmp_path / "pid")
        started = time.monotonic()
    assert time.monotonic() - started < 10


def test_a_child_that_ends_is_reported_with_the_end_of_its_log(children):
    children.start("broken", python("print('the reason'); raise SystemExit(3)"))
    with pytest.raises(
        Unavailable, match=r"broken \(process \d+\) ended with exit status 3: the reason \(see .*broken.log\)"
    ):
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
        assert not ports.is_free(taken)
        assert not ports.answers(f"http://127.0.0.1:{ports.free_port()}/")
    assert ports.is_free(ports.free_port())


def supervise(children, until, seconds=30):
    """Supervise until the condition holds; the notes on the way."""
    notes = []
    deadline = time.monotonic() + seconds
    while not until():
        children.supervise(notes.append, notes.append)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return notes


def test_a_killed_child_is_started_again(children, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.0, 0.1))
    pids = tmp_path / "pids"
    children.start(
        "worker", python(f"import os, time; print(os.getpid(), file=open({str(pids)!r}, 'a')); time.sleep(600)")
    )
    first = wait_for(pids)
    os.kill(first, signal.SIGKILL)
    notes = supervise(children, lambda: len(pids.read_text().split()) == 2)
    assert len(notes) == 1
    assert f"worker (process {first}) was killed by SIGKILL; restarting it in 0 s" in notes[0]
    assert "worker.log" in notes[0]


def test_what_a_killed_child_left_behind_is_killed_before_it_is_started_again(children, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.0,))
    code = (
        "import os, subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"print(os.getpid(), child.pid, file=open({str(tmp_path / 'pids')!r}, 'a'), flush=True); time.sleep(600)"
    )
    children.start("server", python(code))
    supervise(children, lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
    parent, grandchild = map(int, (tmp_path / "pids").read_text().split())
    os.kill(parent, signal.SIGKILL)
    supervise(children, lambda: len((tmp_path / "pids").read_text().split()) == 4)
    assert gone(grandchild)


def gone(pid):
    """Whether no process of that number runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_child_that_ran_for_long_is_not_given_up(children, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(supervisor, "_STABLE_SECONDS", 0.0)
    starts = tmp_path / "starts"
    children.start("restless", python(f"open({str(starts)!r}, 'a').write('x')"))
    supervise(children, lambda: starts.exists() and len(starts.read_text()) >= 4)


def test_children_of_a_killed_parent_are_stopped(tmp_path):
    parent = f"""
import os, sys, time
from pathlib import Path
from podpower.cli.supervisor import Need, Processes
with Processes(logs=Path({str(tmp_path)!r}), environment=os.environ) as children:
    children.start("worker", [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"])
    time.sleep(600)
"""
    process = subprocess.Popen(python(parent))
    worker = wait_for(tmp_path / "worker.log")
    process.kill()
    process.wait()
    until(lambda: gone(worker))


def test_a_child_is_stopped_and_started_with_the_one_that_it_needs(children, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.0,))
    pids = {name: tmp_path / f"{name}.pids" for name in ("server", "client")}

    def count(name):
        return len(pids[name].read_text().split()) if pids[name].exists() else 0

    ready = []
    for name, needs in (("server", None), ("client", Need("server", lambda: bool(ready)))):
        code = f"import os, time; print(os.getpid(), file=open({str(pids[name])!r}, 'a')); time.sleep(600)"
        children.start(name, python(code), needs=needs)
    supervise(children, lambda: count("server") == count("client") == 1)
    client = wait_for(pids["client"])
    os.kill(wait_for(pids["server"]), signal.SIGKILL)
    supervise(children, lambda: count("server") == 2)
    assert gone(client)
    assert count("client") == 1
    ready.append(True)
    supervise(children, lambda: count("client") == 2)


def test_a_child_that_keeps_ending_is_reported_once_and_started_for_ever(children, tmp_path, monkeypatch):
    """An outage of PostgreSQL of two minutes, in which the code server was killed, stopped `up` and the API with it."""
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(supervisor, "_ALWAYS_SECONDS", 0.02)
    back, up = tmp_path / "back", tmp_path / "up"
    children.start("api", python("import time; time.sleep(600)"))
    children.start(
        "server",
        python(
            "import pathlib, time\n"
            f"if not pathlib.Path({str(back)!r}).exists(): raise SystemExit('error: no database')\n"
            f"pathlib.Path({str(up)!r}).touch(); time.sleep(600)"
        ),
    )
    alarms, notes, deadline = [], [], time.monotonic() + 60
    while children.log("server").read_text().count("no database") < 6:
        children.supervise(notes.append, alarms.append)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    back.touch()
    while not up.exists():
        children.supervise(notes.append, alarms.append)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(notes) == 2
    (alarm,) = alarms
    assert re.search(r"server \(process \d+\) ended with exit status 1, 3 times in a row: no database \(see ", alarm)


def test_the_end_of_a_child_that_stands_alone_is_no_reason_to_stop_while_others_start(children):
    children.start("api", python("import time; time.sleep(600)"))
    children.start("collector-b", python("print('error: no kubeconfig')"), stands_alone=True)
    until(lambda: "no kubeconfig" in children.log("collector-b").read_text())
    children.check()


def test_a_log_stays_small_and_keeps_what_was_written_last(children, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_MAX_LOG_BYTES", 1000)
    go_on = tmp_path / "go-on"
    code = (
        "import pathlib, time\nprint('first ' * 300, flush=True)\n"
        f"while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.02)\n"
        "print('second', flush=True); time.sleep(600)"
    )
    children.start("talker", python(code))
    log = children.log("talker")
    children.wait_until(lambda: log.stat().st_size > 1000, what="the log", timeout_seconds=20)
    children.supervise(print, print)
    go_on.touch()
    children.wait_until(lambda: b"second" in log.read_bytes(), what="the log", timeout_seconds=20)
    assert log.read_text() == "second\n"
    assert log.with_suffix(".log.1").read_text().startswith("first first")


def test_a_child_that_cannot_be_started_again_is_tried_again(children, tmp_path, monkeypatch):
    """A machine without room for another process, or an upgrade of the environment, ended `podpower up`."""
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.05,) * 8)
    tool, notes = tmp_path / "tool", []
    tool.symlink_to("/bin/true")
    children.start("tool", [str(tool)])
    until(lambda: children._children[0].process.poll() is not None)
    tool.unlink()
    until(lambda: children.supervise(notes.append, notes.append) or any("cannot be started" in one for one in notes))
    tool.symlink_to("/bin/sleep")
    children._children[0].command = [str(tool), "600"]
    until(lambda: children.supervise(notes.append, notes.append) or children._children[0].process.poll() is None)


def test_a_log_that_somebody_removes_stops_nothing(children):
    """`rm .podpower/logs/api.log`, to free a disk, ended `podpower up` with all that it ran."""
    children.start("sleeper", python("import time; time.sleep(600)"))
    children.log("sleeper").unlink()
    children.supervise(print, print)
    children.check()


def test_a_log_that_a_full_disk_has_no_copy_of_stays_small(children, monkeypatch):
    """The error of the copy ended `podpower up`."""
    monkeypatch.setattr(supervisor, "_MAX_LOG_BYTES", 1000)
    children.start("talker", python("import time; print('text ' * 300, flush=True); time.sleep(600)"))
    log = children.log("talker")
    log.with_suffix(".log.1").symlink_to("/dev/full")
    children.wait_until(lambda: log.stat().st_size > 1000, what="the log", timeout_seconds=20)
    children.supervise(print, print)
    assert log.stat().st_size == 0


def test_a_file_of_the_working_directory_is_no_module(tmp_path):
    """A `gql.py` beside somebody's manifests ended the webserver of `podpower up`."""
    (tmp_path / "podpower.py").write_text("raise SystemExit('not the package')")
    printed = subprocess.check_output(supervisor.podpower_command("--version"), cwd=tmp_path, text=True)
    assert printed.startswith("podpower ")
