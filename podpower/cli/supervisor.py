"""The supervisor of `up` and `demo`: starts their processes, restarts those that end, and stops all at the end.

Each has a process group of its own. `watchdog` stops them where the supervisor itself is killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podpower.cli import watchdog
from podpower.errors import PodpowerError, Unavailable

# Waits before restarts of a child that keeps ending: the first is a hiccup, after the last one somebody has to look.
RESTART_SECONDS = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0)
_ALWAYS_SECONDS = 60.0  # between restarts after those: what the child needs comes back some time
_STABLE_SECONDS = 300.0  # a child that ran that long starts again with the first wait
_POLL_SECONDS = 0.1
_STOP_SECONDS = 15.0
_KILLED_SECONDS = 5.0  # a killed process is not gone at once, and a grandchild's end is not reported to us
_LOG_TAIL_LINES = 8
_MAX_LOG_BYTES = 32 << 20  # of each log, and of the part before it


@dataclass(frozen=True)
class Need:
    """Another child that one cannot work without, and whether it is ready: the one stops and starts with it."""

    name: str
    ready: Callable[[], bool]


@dataclass
class _Child:
    """A started command; `ends` counts how often it ended in a row, `restart_s` is when it is due again. The others do
    not wait for one that `stands_alone`.
    """

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    needs: Need | None = None
    stands_alone: bool = False
    started_s: float = field(default_factory=time.monotonic)
    ends: int = 0
    restart_s: float | None = None


class Processes:
    """Started children. Leaving the block stops them; where the parent is killed, a watchdog stops them."""

    def __init__(self, *, logs: Path, environment: Mapping[str, str]) -> None:
        """Children write to `logs`/NAME.log and see `environment`, nothing else."""
        self._logs = logs
        self._environment = dict(environment)
        self._children: list[_Child] = []
        self._log_starts: dict[str, int] = {}
        self._watchdog: subprocess.Popen[bytes]

    def __enter__(self) -> "Processes":
        self._logs.mkdir(parents=True, exist_ok=True)
        # -S: it needs no site-packages. A session of its own: a Ctrl-C on the terminal does not reach it.
        command = [sys.executable, "-I", "-S", str(watchdog.__file__)]
        self._watchdog = subprocess.Popen(  # noqa: S603  # our own file
            command, stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, *_exception: object) -> None:
        # Signals first, then waiting: they stop at the same time.
        for child in reversed(self._children):
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for child in reversed(self._children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            self._end_group(child.process)
        self._watchdog.communicate()

    def start(
        self, name: str, command: Sequence[str], *, needs: Need | None = None, stands_alone: bool = False
    ) -> None:
        """Start `command`; `name` is for its log and for messages. `stands_alone`: `check` lets it end."""
        self._children.append(_Child(name, command, self._spawn(name, command), needs, stands_alone))

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run `command` to its end; PodpowerError with the end of its log when it fails."""
        self.start(name, command)
        child = self._children[-1]
        if child.process.wait() != 0:
            raise PodpowerError(f"{name} failed: {self._tail(name)} (see {self.log(name)})")
        self._children.pop()
        self._end_group(child.process)

    def log(self, name: str) -> Path:
        """Return the file that receives the output of `name`."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Raise Unavailable when a child has ended, with its exit status and the end of its log."""
        for child in self._children:
            if child.process.poll() is not None and not child.stands_alone:
                raise Unavailable(f"{self._end_of(child)}: {self._tail(child.name)} (see {self.log(child.name)})")

    def supervise(self, note: Callable[[str], None], alarm: Callable[[str], None]) -> None:
        """Restart children that have ended, each after its wait; call it again and again. One that ended more often in
        a row than there are waits is reported by `alarm`, once, and restarted for ever: an outage of what it needs
        must not stop the others.
        """
        now_s = time.monotonic()
        for child in self._children:
            self._bound_log(child.name)
            if child.process.poll() is None:
                continue
            if child.restart_s is None:
                child.ends = 1 if now_s - child.started_s > _STABLE_SECONDS else child.ends + 1
                self._end_group(child.process)  # a run must not go on beside the one that replaces it
                child.restart_s = now_s + self._wait_s(child, note, alarm)
                self._stop_dependents(child.name, now_s)
            elif now_s >= child.restart_s and (child.needs is None or child.needs.ready()):
                self._restart(child, now_s, note)

    def _restart(self, child: _Child, now_s: float, note: Callable[[str], None]) -> None:
        """Start a child again, or note that the system cannot, as without room for another process."""
        try:
            child.process = self._spawn(child.name, child.command)
        except OSError as error:
            wait_s = RESTART_SECONDS[-1]
            note(f"{child.name} cannot be started: {error.strerror}; trying again in {wait_s:g} s")
            child.restart_s = now_s + wait_s
        else:
            child.started_s, child.restart_s = now_s, None

    def _bound_log(self, name: str) -> None:
        """Move what a long log holds to NAME.log.1. Children append, so that they go on at its beginning."""
        log = self.log(name)
        with contextlib.suppress(OSError):  # it was removed, or the disk has no room for a copy: the children go on
            if log.stat().st_size > _MAX_LOG_BYTES:
                try:
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                finally:
                    os.truncate(log, 0)
                    self._log_starts[name] = 0

    def _wait_s(self, child: _Child, note: Callable[[str], None], alarm: Callable[[str], None]) -> float:
        """Return how long to wait before the restart of a child that has ended, and report why."""
        ended, log = self._end_of(child), self.log(child.name)
        if child.ends <= len(RESTART_SECONDS):
            wait_s = RESTART_SECONDS[child.ends - 1]
            note(f"{ended}; restarting it in {wait_s:g} s (see {log})")
            return wait_s
        if child.ends == len(RESTART_SECONDS) + 1:
            reason = f"{ended}, {child.ends} times in a row: {self._tail(child.name)} (see {log})"
            alarm(f"{reason}; restarting it every {_ALWAYS_SECONDS:g} s from now on")
        return _ALWAYS_SECONDS

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout_seconds: float) -> None:
        """Wait for `ready`; Unavailable when a child ends before or time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{what} did not answer within {timeout_seconds:g} s: see {self._logs}")
            time.sleep(_POLL_SECONDS)

    def _stop_dependents(self, name: str, now_s: float) -> None:
        """Stop the children that need one that has ended; that is no end of theirs to count."""
        for child in self._children:
            if child.needs is not None and child.needs.name == name and child.restart_s is None:
                self._end_group(child.process)
                child.restart_s = now_s

    def _spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log(name).open("ab") as log:
            self._log_starts[name] = log.tell()
            process = subprocess.Popen(  # noqa: S603  # our own commands
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches us only; we stop the group
            )
        self._tell_watchdog("+", process)
        return process

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """Kill whatever is left of a child's group, and wait for it."""
        _signal_group(process, signal.SIGKILL)
        process.wait()
        _wait_for_group(process)
        self._tell_watchdog("-", process)

    def _tell_watchdog(self, sign: str, process: subprocess.Popen[bytes]) -> None:
        stream = self._watchdog.stdin
        with contextlib.suppress(BrokenPipeError):  # somebody killed it: we still stop our children ourselves
            if stream is not None:
                stream.write(f"{sign}{process.pid}\n".encode())
                stream.flush()

    def _end_of(self, child: _Child) -> str:
        status = child.process.returncode
        if status < 0:
            return f"{child.name} (process {child.process.pid}) was killed by {signal.Signals(-status).name}"
        return f"{child.name} (process {child.process.pid}) ended with exit status {status}"

    def _tail(self, name: str) -> str:
        """Return the last lines that the child wrote since it was started last."""
        written = self.log(name).read_bytes()[self._log_starts[name] :]
        lines = written.decode(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
        if lines and lines[-1].startswith("error: "):
            return lines[-1].removeprefix("error: ")
        return " | ".join(line.strip() for line in lines) or "it wrote nothing"


def python_command(module: str, *arguments: str) -> list[str]:
    """Return a Python module with its arguments for `start`, run by this Python without the modules of the working
    directory, where a file of a user may have the name of a package.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def podpower_command(*arguments: str) -> list[str]:
    """Return a podpower command for `start`."""
    return python_command("podpower", *arguments)


def _wait_for_group(child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _KILLED_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(_POLL_SECONDS / 10)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
