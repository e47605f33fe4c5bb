"""`podpower serve` as a process of its own, as users run it."""

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.waiting import until

START_SECONDS = 90  # beside other tests


@dataclass
class Service:
    """A running service: its process, its address, and what it has logged."""

    process: subprocess.Popen
    url: str
    log: Path

    def client(self, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def logged(self):
        return self.log.read_text()


@contextlib.contextmanager
def service(folder, *options, environment=None, ready=True, verify=True):
    """Run the service until the end of the block; wait until it is ready, unless it cannot be."""
    log = folder / f"log-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "podpower", "serve", "--port", "0", *map(str, options)]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PODPOWER_")} | (environment or {})
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream, env=variables) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not (found := re.search(r"listening on (https?://(?:[\d.]+|\[[\da-f:]+\]):\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            running = Service(process, found[1], log)
            if ready:
                with running.client(verify=verify) as client:
                    wait_until(lambda: is_ready(client), log)
            yield running
        finally:
            kill(process)


def kill(process):
    """Kill a service with its workers: one that is stopped would stay, and the others drain beside the next tests."""
    workers = psutil.Process(process.pid).children() if process.poll() is None else []
    for one in (process, *workers):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(done, log=None):
    """Wait; the log of the service explains a failure."""
    until(done, seconds=START_SECONDS, why=log.read_text if log else lambda: "it took too long")
