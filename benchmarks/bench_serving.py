"""CPU time of a prediction over HTTP, beside a bare Litestar handler that decodes the body and answers in its shape.

python benchmarks/bench_serving.py [ENCODER MODEL]; without artifacts it trains some on a simulated cluster. It needs
wrk (Debian: apt install wrk). The service and the bare handler take turns, each in one process, with distinct bodies;
the figures are CPU time of the server's process a request, since rates depend on what else the machine does.
"""

import json
import os
import random
import re
import shutil
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

ROUNDS, SECONDS, KNOWN, NEW = 3, 2, 10_000, 120_000
GOALS = {  # figure: least or most
    "ratio, 8 connections": 0.7,
    "ratio, 64 connections": 0.9,
    "ratio, 8 connections, only new words": 0.45,
    "ratio, 64 connections, only new words": 0.55,
    "batch of 1,000: specs a CPU second": 20_000,
}
IMAGES = (
    "nginx", "redis", "docker.io/bitnami/postgresql", "quay.io/prometheus/prometheus", "grafana/grafana", "python",
    "registry.k8s.io/etcd", "ghcr.io/acme/checkout-api", "registry.example.org/team/payments-worker", "node",
    "rabbitmq", "docker.io/library/mongo", "elastic/filebeat", "acme/search", "quay.io/jetstack/cert-manager",
)  # fmt: skip
ROLES = ("web", "worker", "cache", "primary", "frontend")
KINDS = ("Deployment", "StatefulSet", "Deployment", "DaemonSet", "Job")
BARE = """
import sys
import msgspec, uvicorn
from litestar import Litestar, get, post
from podpower.model.predictor import Prediction
from podpower.specs.requests import InferenceRequest
ANSWER = msgspec.json.decode(sys.argv[1], type=Prediction)
@post("/predict", status_code=200)
async def bare(data: InferenceRequest) -> Prediction:
    return ANSWER
@get("/readyz")
async def ready() -> str:
    return "ready"
uvicorn.run(Litestar([bare, ready]), port=int(sys.argv[2]), log_level="error", access_log=False)
"""
WRK = """
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
local bodies, at = {{}}, {first}
for line in io.lines("{path}") do bodies[#bodies + 1] = line end
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, "/predict", nil, bodies[at])
end
"""


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is not installed (Debian, Ubuntu: apt install wrk)")
    with tempfile.TemporaryDirectory() as folder:
        encoder, model = sys.argv[1:] if len(sys.argv) == 3 else _trained(Path(folder))
        files = {False: Path(folder) / "known", True: Path(folder) / "new"}
        for new, path in files.items():
            path.write_text("\n".join(_body(number, new) for number in range(NEW if new else KNOWN)))
        environment = {**os.environ, "ENCODER_PATH": str(encoder), "MODEL_PATH": str(model)}
        serve = [sys.executable, "-m", "podpower", "serve", "--port"]
        with _running(serve, environment) as (client, service, seconds):
            body = _body(0, False)
            answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
            bare = [sys.executable, "-c", BARE, answer.raise_for_status().text]
            with _running(bare, environment) as (_, other, _):
                figures = _ratios(service, other, files)
            figures["batch of 1,000: specs a CPU second"] = _batch(client, service[0])
            figures["MiB resident"] = service[0].memory_info().rss / 2**20
        figures["seconds until ready"] = seconds
    missed = False
    for name, value in figures.items():
        goal = GOALS.get(name)
        missed = missed or (goal is not None and value < goal)
        print(f"{name:55s}{value:10,.2f}" + ("" if goal is None else f"   goal {goal:,}"))
    sys.exit(missed)


def _ratios(service, bare, files) -> dict[str, float]:
    figures = {}
    for new, path in files.items():
        for connections in (8, 64):
            pairs = [
                (_cpu_us(bare, path, connections, turn), _cpu_us(service, path, connections, turn))
                for turn in range(ROUNDS)
            ]
            name = f"{connections} connections" + (", only new words" if new else "")
            figures[f"CPU us a request, {name}"] = statistics.median(own for _, own in pairs)
            figures[f"CPU us a request, bare, {name}"] = statistics.median(other for other, _ in pairs)
            figures[f"ratio, {name}"] = statistics.median(other / own for other, own in pairs)
    return figures


def _cpu_us(server, path: Path, connections: int, turn: int) -> float:
    process, port = server
    script = path.parent / "wrk.lua"
    step = (NEW if "new" in path.name else KNOWN) // (2 * ROUNDS)
    script.write_text(WRK.format(path=path, first=(turn * 2 + (connections > 8)) * step))
    before = sum(process.cpu_times()[:2])
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in printed, printed
    return (sum(process.cpu_times()[:2]) - before) / int(re.search(r"(\d+) requests in", printed)[1]) * 1e6


def _batch(client, process) -> float:
    rows = "[" + ",".join(_body(number, False) for number in range(1000)) + "]"
    began = sum(process.cpu_times()[:2])
    for _ in range(10):
        client.post("/predict/batch", content=rows, headers={"Content-Type": "application/json"}).raise_for_status()
    return 10_000 / (sum(process.cpu_times()[:2]) - began)


def _body(number: int, new: bool) -> str:
    """A request: one of 75 combinations of names, or names that no other request has."""
    image, role = IMAGES[number % len(IMAGES)], ROLES[number // len(IMAGES) % len(ROLES)]
    name = f"{image.rpartition('/')[2]}-{role}"
    if new:
        letters = random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=18)
        image, name = "acme/" + "".join(letters[:9]), "".join(letters[9:]) + f"-{role}"
    annotations = {"deployment.kubernetes.io/revision": str(number)}
    if number % 5:
        annotations["example.org/description"] = f"Serves orders of the region, see runbook number {number}"
    resources = {"req_cpu_mcpu": 50 + number % 1977, "req_mem_mib": 64 + number % 4001, "lim_mem_mib": 8192}
    image += f":1.{number % 30}.{number}"
    args = ["--log-level=info", f"--max-items={number}"]
    return json.dumps(
        {
            "namespace": f"team-{number % 40}",
            "workload_kind": KINDS[number // 75 % len(KINDS)],
            "workload_name": name,
            "replicas": 1 + number % 7,
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": f"release-{number}"},
            "annotations": annotations,
            "containers": [{"name": name, "image": image, "args": args, **resources}],
        }
    )


@contextmanager
def _running(command, environment):
    port = free_port()
    began = time.perf_counter()
    service = subprocess.Popen([*command, str(port)], env=environment, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not _is_ready(client):
                assert service.poll() is None, "the service ended"
                time.sleep(0.02)
            yield client, (psutil.Process(service.pid), port), time.perf_counter() - began
    finally:
        service.terminate()
        service.wait()


def _is_ready(client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


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
