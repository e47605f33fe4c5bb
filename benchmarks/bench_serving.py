"""How quickly the service starts, what memory it takes, and its requests a second beside a bare Litestar echo.

python benchmarks/bench_serving.py [ENCODER MODEL]; without artifacts it trains some on a simulated cluster.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from podpower.cli.ports import free_port
from podpower_serving.openapi import REQUEST_EXAMPLE

STARTS, REQUESTS = 3, 1500
ECHO = """
import sys
import uvicorn
from litestar import Litestar, get, post
@post("/predict", status_code=200)
async def echo(data: dict) -> dict:
    return data
@get("/readyz")
async def ready() -> str:
    return "ready"
uvicorn.run(Litestar([echo, ready]), port=int(sys.argv[1]), log_level="error")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        encoder, model = sys.argv[1:] if len(sys.argv) == 3 else _trained(Path(folder))
        environment = {**os.environ, "ENCODER_PATH": str(encoder), "MODEL_PATH": str(model)}
        started, resident, served, echoed = [], [], [], []
        for _ in range(STARTS):
            with _running([sys.executable, "-m", "podpower", "serve", "--port"], environment) as (client, process, s):
                started.append(s)
                served.append(_requests_per_s(client))
                resident.append(process.memory_info().rss / 2**20)
            with _running([sys.executable, "-c", ECHO], environment) as (client, _, _):
                echoed.append(_requests_per_s(client))
    medians = {
        "ready_after_s": round(statistics.median(started), 2),
        "resident_mib": round(statistics.median(resident)),
        "predict_per_s_one_connection": round(statistics.median(served)),
        "share_of_bare_echo": round(statistics.median(a / b for a, b in zip(served, echoed, strict=True)), 2),
    }
    print(json.dumps(medians))


@contextmanager
def _running(command, environment):
    port = free_port()
    began = time.perf_counter()
    service = subprocess.Popen([*command, str(port)], env=environment, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            while not _is_ready(client):
                assert service.poll() is None, "the service ended"
                time.sleep(0.005)
            yield client, psutil.Process(service.pid), time.perf_counter() - began
    finally:
        service.terminate()
        service.wait()


def _is_ready(client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _requests_per_s(client) -> float:
    body, headers = json.dumps(REQUEST_EXAMPLE).encode(), {"Content-Type": "application/json"}
    began = time.perf_counter()
    for _ in range(REQUESTS):
        client.post("/predict", content=body, headers=headers).raise_for_status()
    return REQUESTS / (time.perf_counter() - began)


def _trained(folder: Path) -> tuple[Path, Path]:
    at = {name: str(folder / name) for name in ("recording", "in", "encoder", "features", "labels", "rows", "model")}
    steps = (
        ["simulate", "--out", at["recording"], "--hours", "2"],
        ["label", "--recording", at["recording"], "--out", at["labels"]],
        ["encode", "fit", "--input", at["in"], "--out", at["encoder"]],
        ["encode", "transform", "--input", at["in"], "--encoder", at["encoder"], "--out", at["features"]],
        ["join", "--features", at["features"], "--labels", at["labels"], "--out", at["rows"]],
        ["train", "--train", at["rows"], "--out", at["model"], "--json"],
    )
    with open(os.devnull, "w") as nowhere:
        for step in steps:
            if step[:2] == ["encode", "fit"]:
                command = [sys.executable, "-m", "podpower", "collect", "from-file", at["recording"]]
                Path(at["in"]).write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
            command = [sys.executable, "-m", "podpower", *step]
            subprocess.run(command, stdout=nowhere, stderr=nowhere, check=True)
    return Path(at["encoder"]), Path(at["model"])


if __name__ == "__main__":
    main()
