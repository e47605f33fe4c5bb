"""Dagster's processes for a benchmark, killed and measured as a group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from podpower.cli.ports import free_port, listens

_START_SECONDS = 180.0
_RUN = "--multiprocessing-fork"  # in the command of a run's process


class Dagster:
    """Code server and daemon in one process group, as `podpower up` starts them, and what they cost."""

    def __init__(self, *, folder: Path, environment: Mapping[str, str], definitions: Path) -> None:
        self._folder, self._environment, self._definitions = folder, dict(environment), definitions
        self._log: IO[bytes] = (folder / "dagster.log").open("ab")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._group = 0
        self.usage = Usage()

    def start(self) -> None:
        """Start the code server, then the daemon."""
        port = free_port()
        workspace = self._folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: podpower}}\n"
        )
        self._group = 0
        server = ["dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port), "--location-name", "podpower"]
        self._processes = [self._started(*server, "--python-file", str(self._definitions))]
        deadline = time.monotonic() + _START_SECONDS
        while not listens(port):
            if time.monotonic() > deadline or self._processes[0].poll() is not None:
                raise SystemExit(f"error: the code server did not start: see {self._log.name}")
            time.sleep(0.2)
        self._processes.append(self._started("podpower_assets.daemon", "run", "--workspace", str(workspace)))

    def kill(self) -> None:
        """Kill the whole group at once."""
        self.usage.sample(self.pids())
        os.killpg(self._group, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def kill_run(self) -> bool:
        """Kill the process of one run; return whether there was one."""
        for process in psutil.Process(self._processes[0].pid).children():
            with suppress(psutil.Error):
                if _RUN in process.cmdline() and time.time() - process.create_time() > 5:
                    self.usage.sample(self.pids())
                    process.kill()
                    return True
        return False

    def stop(self) -> None:
        """Stop what runs."""
        if any(process.poll() is None for process in self._processes):
            self.kill()
        self._log.close()

    def pids(self) -> list[int]:
        """Return the processes that were started here; those below them count too."""
        return [process.pid for process in self._processes]

    def _started(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=self._environment, stdout=self._log, stderr=self._log,
            process_group=self._group,
        )  # fmt: skip
        self._group = self._group or process.pid
        return process


class Usage:
    """CPU seconds and peak memory of processes and all below them, from samples: what a process did after its last
    sample is lost.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, float], float] = {}
        self.peak_mib = 0.0  # of one process

    def sample(self, pids: list[int]) -> None:
        """Take a sample of the processes and all below them."""
        for pid in pids:
            with suppress(psutil.Error):
                parent = psutil.Process(pid)
                for process in [parent, *parent.children(recursive=True)]:
                    with suppress(psutil.Error):
                        times = process.cpu_times()
                        self._seconds[process.pid, process.create_time()] = times.user + times.system
                        self.peak_mib = max(self.peak_mib, process.memory_info().rss / 2**20)

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return sum(self._seconds.values())
