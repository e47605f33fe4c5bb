"""Child processes of `demo` and `up`: each in a group of its own, all stopped whatever happens."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from podpower.errors import PodpowerError, Unavailable

_POLL_SECONDS = 0.1
_STOP_SECONDS = 15.0
_KILLED_SECONDS = 5.0  # a killed process is not gone at once, and nobody tells us when a grandchild is
_LOG_TAIL_LINES = 8


class Processes:
    """Started children; leaving the block stops them in the reverse order."""

    def __init__(self, *, logs: Path, environment: Mapping[str, str]) -> None:
        """Children write to `logs`/NAME.log and see `environment`, nothing else."""
        self._logs = logs
        self._environment = dict(environment)
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> "Processes":
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        # Signals first, then waiting: they stop at the same time.
        for _name, child in reversed(self._children):
            _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for _name, child in reversed(self._children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.1, deadline - time.monotonic()))
            _signal_group(child, signal.SIGKILL)  # also what a child left behind
            child.wait()
        for _name, child in self._children:
            _wait_for_group(child)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start `command`; `name` is for its log and for messages."""
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603  # our own commands
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches us only; we stop the group
            )
        self._children.append((name, child))

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run `command` to its end; PodpowerError with the end of its log when it fails."""
        self.start(name, command)
        _, child = self._children[-1]
        if child.wait() != 0:
            raise PodpowerError(f"{name} failed: {self._tail(name)} (see {self.log(name)})")
        self._children.pop()

    def log(self, name: str) -> Path:
        """Where the output of `name` goes."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Unavailable when a child has ended, with the end of its log."""
        for name, child in self._children:
            if child.poll() is not None:
                raise Unavailable(f"{name} ended with exit code {child.returncode}: {self._tail(name)}")

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout_seconds: float) -> None:
        """Wait for `ready`; Unavailable when a child ends before or time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{what} did not answer within {timeout_seconds:g} s: see {self._logs}")
            time.sleep(_POLL_SECONDS)

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
        if lines and lines[-1].startswith("error: "):
            return lines[-1].removeprefix("error: ")
        return " | ".join(line.strip() for line in lines) or f"see {self.log(name)}"


def podpower_command(*arguments: str) -> list[str]:
    """A podpower command for `start`, by the Python that runs this one."""
    return [sys.executable, "-m", "podpower", *arguments]


def dagster_command(port: int) -> list[str]:
    """The Dagster UI and daemon on the loopback address, for `start`; DAGSTER_HOME tells where they keep things."""
    module = ("-m", "podpower_assets.definitions")
    return [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port), *module]


def answers(url: str) -> bool:
    """Whether a GET of `url` succeeds now."""
    import httpx  # noqa: PLC0415  # an extra

    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that children are stopped."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Gives what tells whether SIGTERM or Ctrl-C came, for work that ends at a place of its own choosing; a second
    Ctrl-C interrupts it wherever it is.
    """
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_group(child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _KILLED_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(_POLL_SECONDS / 10)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
