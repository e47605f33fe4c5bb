"""`make up` as a user sees it: the UI's lineage, a changed workload, and the model that follows without a restart."""

import contextlib
import os
import shutil
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
import pytest

from podpower.simulation import change_workload
from tests.live.lineage import read_lineage

ROOT = Path(__file__).parents[2]
FIVE = ["workload_specs", "features", "kepler_labels", "training_rows", "knn_model"]
T = TypeVar("T")

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("live")]


@dataclass(frozen=True)
class Running:
    dagster_url: str
    api_url: str
    recording: Path
    log: Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(what: str, ask: Callable[[], T | None], *, seconds: float, log: Path) -> T:
    """Ask until the answer is not None; the last lines of the log tell why it never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(1)
    pytest.fail(f"no {what} within {seconds:.0f} s; the log ends with:\n" + log.read_text()[-4000:])


def get_json(url: str) -> Any | None:
    try:
        response = httpx.get(url, timeout=10)
    except httpx.TransportError:
        return None
    return response.json() if response.status_code == 200 else None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    dagster_port, api_port = free_port(), free_port()
    log = home / "up.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
    environment["PODPOWER_SENSOR_SECONDS"] = "8"
    command = [sys.executable, "-m", "podpower", "up", "--home", str(home)]
    command += ["--dagster-port", str(dagster_port), "--api-port", str(api_port), "--hours", "3", "--workloads", "16"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Running(
            dagster_url=f"http://127.0.0.1:{dagster_port}",
            api_url=f"http://127.0.0.1:{api_port}",
            recording=home / "recording",
            log=log,
        )
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # everything it started is stopped already, as it should be
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode in {0, 130}


@pytest.fixture(scope="module")
def first_model(running: Running) -> dict[str, Any]:
    """The model of the past hours: nobody asked for it, the sensors did."""
    return until("first model", lambda: get_json(f"{running.api_url}/model"), seconds=240, log=running.log)


def test_five_assets_are_connected_in_the_ui(running: Running, first_model: dict[str, Any], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1":
            pytest.fail("PODPOWER_REQUIRE_SERVICES=1, but there is no chromium on the PATH")
        pytest.skip("no chromium on the PATH")
    picture = os.environ.get("PODPOWER_LINEAGE_PICTURE") or str(tmp_path / "lineage.png")

    lineage = read_lineage(running.dagster_url, chromium=chromium, names=[*FIVE, "encoder"], picture=picture)

    assert lineage.assets >= set(FIVE)
    assert lineage.edges >= {
        ("workload_specs", "features"),
        ("workload_specs", "kepler_labels"),
        ("features", "training_rows"),
        ("kepler_labels", "training_rows"),
        ("training_rows", "knn_model"),
    }


def test_a_changed_workload_reaches_the_served_model(running: Running, first_model: dict[str, Any]) -> None:
    change_workload(running.recording, namespace="shop", kind="Deployment", name="frontend", image="nginx:9.9")

    def newer_model() -> dict[str, Any] | None:
        model = get_json(f"{running.api_url}/model")
        return model if model and model["version"] != first_model["version"] else None

    newer = until("newer model", newer_model, seconds=300, log=running.log)

    assert newer["trained_at"] > first_model["trained_at"]
