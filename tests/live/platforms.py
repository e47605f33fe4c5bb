"""`podpower up` as a process of its own, and what it started, for tests that use it or kill parts of it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class Platform:
    home: Path
    dagster_url: str
    api_url: str
    process: subprocess.Popen[bytes]

    @property
    def recording(self) -> Path:
        return self.home / "recording"

    def model(self) -> dict[str, Any] | None:
        """The served model; None before there is one."""
        with contextlib.suppress(httpx.TransportError):
            response = httpx.get(f"{self.api_url}/model", timeout=10)
            return response.json() if response.status_code == 200 else None
        return None

    def model_after(self, version: str, *, seconds: float) -> dict[str, Any]:
        """The first served model that is not `version`."""

        def newer() -> dict[str, Any] | None:
            model = self.model()
            return model if model and model["version"] != version else None

        return self.until("newer model", newer, seconds=seconds)

    def until(self, what: str, ask: Callable[[], T | None], *, seconds: float, every: float = 1.0) -> T:
        """Ask until the answer is not None; the ends of the logs explain a failure."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = ask()
            if answer is not None:
                return answer
            time.sleep(every)
        logs = [self.home / "up.log", *sorted((self.home / "logs").glob("*.log"))]
        ends = "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-2500:]}" for log in logs if log.exists())
        pytest.fail(f"no {what} within {seconds:.0f} s\n{ends}")

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this platform, wherever they are in the tree, whose command contains all of `words`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                # A platform's processes know its home from their command or their environment.
                ours = str(self.home) in command or str(self.home) in str(process.environ().values())
                if ours and process.pid != os.getpid() and all(word in command for word in words):
                    found.append(process)
        return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def up(home: Path, *, hours: int = 3, workloads: int = 16) -> Iterator[Platform]:
    """Run `podpower up`; Ctrl-C ends it and leaves no process, unless the test has ended it before."""
    dagster_port, api_port = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
    environment["PODPOWER_SENSOR_SECONDS"] = "8"
    environment["PODPOWER_REMAKE_SECONDS"] = "60"
    command = [sys.executable, "-m", "podpower", "up", "--home", str(home)]
    command += ["--dagster-port", str(dagster_port), "--api-port", str(api_port)]
    command += ["--hours", str(hours), "--workloads", str(workloads)]
    with (home / "up.log").open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    platform = Platform(home, f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{api_port}", process)
    try:
        yield platform
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
            assert process.returncode in {0, 130}, (home / "up.log").read_text()
            assert [" ".join(left.cmdline()) for left in platform.processes()] == []
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
