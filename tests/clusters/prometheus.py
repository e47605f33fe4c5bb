"""A real Prometheus over a backfilled TSDB, for tests and benchmarks."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from podpower.simulation.openmetrics import write_openmetrics
from podpower.sources.recording import Recording


def need_prometheus() -> None:
    """Skip, or fail where services are required, when there is no prometheus or promtool."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if not missing:
        return
    if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1":
        pytest.fail(f"PODPOWER_REQUIRE_SERVICES=1, but there is no {' and no '.join(missing)} on the PATH")
    pytest.skip(f"no {' and no '.join(missing)} on the PATH")


def backfill(text: Path, data: Path) -> None:
    """Make a TSDB in `data` of OpenMetrics text."""
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, data],
        check=True,
        capture_output=True,
    )


def backfill_recording(root: Path, data: Path) -> None:
    """Make a TSDB in `data` of a recording's samples."""
    text = data.with_suffix(".om")
    write_openmetrics(Recording(root), text)
    backfill(text, data)
    text.unlink()


@contextlib.contextmanager
def serving(data: Path, *options: str) -> Iterator[str]:
    """Run Prometheus over `data` on a free port; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = data.with_suffix(".yml")
    config.write_text("global: {}\n")
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=20y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", *options,
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with data.with_suffix(".log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _until_ready(url, server, data.with_suffix(".log"))
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def _until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready", timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus did not start:\n{log.read_text()[-2000:]}")
