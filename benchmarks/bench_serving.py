"""CPU time of a prediction over HTTP, beside a bare Litestar handler that decodes the body and answers in its shape.

python benchmarks/bench_serving.py [ENCODER MODEL]; without artifacts it trains some on a simulated cluster. It needs
wrk (Debian: apt install wrk). The service and the bare handler take turns, each in one process, with distinct bodies;
the figures are CPU time of the server's processes a request, since rates depend on what else the machine does. Times of
answers are those that a client sees which keeps its own pace (paced.lua), from when a request was due. They need a
machine of their own: the cores that other processes used meanwhile are printed beside them. For them the service and
the client have a core each, since either waits for the other where the scheduler moves one to the other's.
"""

import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from podpower.cli.ports import free_port
from podpower.registry.artifacts import load_encoder, load_model
from podpower.registry.store import ModelStore

ROUNDS, SECONDS, KNOWN, NEW = 3, 2, 10_000, 120_000
LEAST = {
    "ratio, 8 connections": 0.7,
    "ratio, 64 connections": 0.9,
    "ratio, 8 connections, only new words": 0.45,
    "ratio, 64 connections, only new words": 0.55,
    "batch of 1,000: specs a CPU second": 20_000,
}
MOST = {
    "p99 at 70 % of the maximum, ms": 5,
    "p99 of small requests beside batches of 10,000, ms": 50,
    "p99 of small requests beside /diff of 10,000 a side, ms": 50,
    "CPU a request with two workers, against one": 1.1,
    "podpower predict of 100,000 specs, CPU seconds": 6,
    "reload under load: failed requests": 0,
    "reload under load: slowest, ms": 50,
}
PACED = Path(__file__).with_name("paced.lua")
PACED_CONNECTIONS, PACED_SECONDS, PACED_ROUNDS, CALM_RATE = 32, 5, 5, 200
WORKER_TURNS, WORKER_SECONDS = 9, 1
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
def named(app):
    async def repeating_ids(scope, receive, send):
        given = [header for header in scope.get("headers", ()) if header[0] == b"x-request-id"]
        async def answer(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *given]
            await send(message)
        await app(scope, receive, answer)
    return repeating_ids
app = Litestar([bare, ready])
app = named(app) if sys.argv[2] == "paced" else app
uvicorn.run(app, port=int(sys.argv[-1]), log_level="error", access_log=False)
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
        given = {"ENCODER_PATH": str(encoder), "MODEL_PATH": str(model), "PODPOWER_MAX_BODY_MIB": "16"}
        environment = {**os.environ, **given}
        serve = [sys.executable, "-m", "podpower", "serve", "--port"]
        with _running(serve, environment) as (client, service, seconds):
            body = _body(0, False)
            answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
            bare = [sys.executable, "-c", BARE, answer.raise_for_status().text]
            with _running(bare, environment) as (_, other, _):
                figures = _ratios(service, other, files)
            figures["batch of 1,000: specs a CPU second"] = _batch(client, service[0])
            figures |= _beside_large_bodies(service, files[False])
            with _running([*bare, "paced"], environment) as (_, other, _):
                figures |= _paces(service, other, files[False])
            figures["MiB resident"] = service[0].memory_info().rss / 2**20
            figures["seconds until ready"] = seconds
            workers = [*serve[:-1], "--workers", "2", "--port"]
            with _running(serve, environment) as (_, other, _), _running(workers, environment) as (_, two, _):
                figures["CPU a request with two workers, against one"] = _two_against_one(
                    (service, other), (two, two), files[False]
                )
        figures |= _reloads(Path(folder), encoder, model, serve, files[False])
        figures["podpower predict of 100,000 specs, CPU seconds"] = _command(Path(folder), encoder, model)
    missed = False
    for name, value in figures.items():
        goal = LEAST.get(name, MOST.get(name))
        missed = missed or (goal is not None and (value < goal if name in LEAST else value > goal))
        shown = "" if goal is None else f"   goal: at {'least' if name in LEAST else 'most'} {goal:,}"
        print(f"{name:60s}{value:10,.2f}{shown}")
    sys.exit(missed)


def _paced(port: int, path: Path, rate: float) -> subprocess.Popen:
    """Start a client that keeps its own pace."""
    options = ["-t1", f"-c{PACED_CONNECTIONS}", f"-d{PACED_SECONDS}s", "-s", str(PACED), f"http://127.0.0.1:{port}"]
    return subprocess.Popen(["wrk", *options, "--", str(path), str(rate)], stdout=subprocess.PIPE, text=True)


def _seen(client: subprocess.Popen) -> dict[str, float]:
    """Return what the client saw, when it ends."""
    seen = json.loads(client.communicate()[0].splitlines()[-1])
    assert seen["answers"], "there was no answer"
    return seen


def _paces(service, bare, path: Path) -> dict[str, float]:
    """Times of answers at 70 and 50 % of the rate that the service reached right before, and of the bare handler at
    70 % of its own, in turns.
    """
    own, others, calm = [], [], []
    for turn in range(PACED_ROUNDS):
        shares = (0.7, 0.5) if turn == 0 else (0.7,)
        found, *calmer = _paced_turn(service, path, turn, shares)
        own.append(found)
        calm += calmer
        others += _paced_turn(bare, path, turn, (0.7,))
    return {
        **{
            f"{name}, ms": statistics.median(seen[key] for seen in own)
            for name, key in (
                ("p99 at 70 % of the maximum", "p99_ms"),
                ("p99 at 70 % of the maximum: sent late, p99", "late_p99_ms"),
                ("median at 70 % of the maximum", "p50_ms"),
            )
        },
        "p99 at 70 % of the maximum, least of the rounds, ms": min(seen["p99_ms"] for seen in own),
        "p99 at 70 % of its maximum, bare, ms": statistics.median(seen["p99_ms"] for seen in others),
        "p99 at 70 % of its maximum, bare, least of the rounds, ms": min(seen["p99_ms"] for seen in others),
        "cores of the service at 70 %": statistics.median(seen["cores"] for seen in own),
        "cores of other processes meanwhile": statistics.median(seen["others"] for seen in own),
        "ms of a second that the service waited for its core": statistics.median(seen["waited_ms"] for seen in own),
        "p99 at 50 % of the maximum, ms": calm[0]["p99_ms"],
    }


def _paced_turn(server, path: Path, turn: int, shares: Sequence[float]) -> list[dict[str, float]]:
    """Return what a client saw at each share of the rate that this server reaches now."""
    with _on_cores_of_their_own(server[0]):
        _, most = _wrk(server[1], path, 64, turn % ROUNDS)
        rates = [share * most for share in shares]
        return [_beside_others(server, lambda rate=rate: _seen(_paced(server[1], path, rate))) for rate in rates]


def _beside_large_bodies(server, path: Path) -> dict[str, float]:
    """Times of small answers beside batches, and beside differences of which half of the workloads are changed."""
    rows = [_body(number, False) for number in range(10_000)]
    changed = [row.replace('"--log-level=info"', '"--log-level=warn"') if n % 2 else row for n, row in enumerate(rows)]
    old, new = ("[" + ",".join(side) + "]" for side in (rows, changed))
    return {
        "p99 of small requests beside batches of 10,000, ms": _beside(server, path, "/predict/batch", old),
        "p99 of small requests beside /diff of 10,000 a side, ms": _beside(
            server, path, "/diff", f'{{"old": {old}, "new": {new}}}'
        ),
    }


def _beside(server, path: Path, url: str, content: str) -> float:
    """The p99 of a few small answers while another client sends one large body after another; the median round."""
    port, found = server[1], []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for _ in range(ROUNDS):
            small = _paced(port, path, CALM_RATE)
            while small.poll() is None:
                client.post(url, content=content, headers={"Content-Type": "application/json"}).raise_for_status()
            found.append(_seen(small)["p99_ms"])
    return statistics.median(found)


def _two_against_one(ones, two, path: Path) -> float:
    """CPU time a request of two workers over that of services of one worker each, two of them at a time, so that both
    cores are as busy: the median of short turns, of which each goes first in half.

    `two` has the service of two workers twice. A request costs more in smaller batches.
    """
    for turn in range(ROUNDS):  # until all know the words
        _cpu_us_of_both(ones, path, turn), _cpu_us_of_both(two, path, turn)
    ratios = []
    for turn in range(WORKER_TURNS):
        order = (ones, two) if turn % 2 else (two, ones)
        cpu = {servers: _cpu_us_of_both(servers, path, turn % ROUNDS) for servers in order}
        ratios.append(cpu[two] / cpu[ones])
    return statistics.median(ratios)


def _cpu_us_of_both(servers, path: Path, turn: int) -> float:
    """CPU time a request while each of the servers, or the one that is given twice, has a client of 64 connections."""
    processes = {server[0] for server in servers}
    before = sum(map(_cpu_seconds, processes))
    with ThreadPoolExecutor(len(servers)) as pool:
        clients = [pool.submit(_wrk, server[1], path, 64, turn, seconds=WORKER_SECONDS) for server in servers]
        requests = sum(client.result()[0] for client in clients)
    return (sum(map(_cpu_seconds, processes)) - before) / requests * 1e6


def _beside_others(server, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return what was measured, the cores that the service and processes beside it and the client used, and the
    milliseconds of a second that the event loop waited for its core, which another process had.
    """
    began, busy, own, client = time.perf_counter(), _busy_seconds(), _cpu_seconds(server[0]), os.times()
    waited = _waited_seconds(server[0])
    found = measure()
    waited = _waited_seconds(server[0]) - waited
    seconds, own, ended = time.perf_counter() - began, _cpu_seconds(server[0]) - own, os.times()
    sent = ended.children_user + ended.children_system - client.children_user - client.children_system
    others = (_busy_seconds() - busy - own - sent) / seconds
    return {**found, "cores": own / seconds, "others": others, "waited_ms": 1000 * waited / seconds}


def _waited_seconds(process: psutil.Process) -> float:
    """Seconds that the thread of the event loop was ready to run while its core ran another one (Linux: schedstat)."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) * 1e-9


@contextmanager
def _on_cores_of_their_own(service: psutil.Process):
    """Let the event loop of the service have one core, and this process and the clients that it starts another one."""
    both = os.sched_getaffinity(0)
    if len(both) < 2:
        raise SystemExit("error: times of answers need two cores")
    first, second, *_ = sorted(both)
    try:
        os.sched_setaffinity(service.pid, {first})
        os.sched_setaffinity(0, {second})
        yield
    finally:
        for pid in (service.pid, 0):
            os.sched_setaffinity(pid, both)


def _busy_seconds() -> float:
    """CPU seconds of all processes of this machine."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _reloads(folder: Path, encoder: Path, model: Path, serve: list[str], path: Path) -> dict[str, float]:
    """Failed requests and the slowest answer while newer versions are promoted, at a quarter of the full rate."""
    store = ModelStore(folder / "store")
    pair = load_encoder(encoder), load_model(model)
    store.promote(store.add(*pair))
    environment = {**os.environ, "PODPOWER_MODEL_STORE": str(folder / "store"), "PODPOWER_RELOAD_SECONDS": "0.5"}
    with _running(serve, environment) as (client, (_, port), _):
        first = client.get("/model").json()["version"]
        _, rate = _wrk(port, path, 32, 0)
        load = _paced(port, path, 0.25 * rate)
        while load.poll() is None:
            pair[1].trained_at = datetime.now(UTC).isoformat()
            store.promote(store.add(*pair))
            time.sleep(1.0)
        assert client.get("/model").json()["version"] != first, "no newer version was served"
    found = _seen(load)
    return {
        "reload under load: failed requests": found["failed"],
        "reload under load: slowest, ms": found["slowest_ms"],
    }


def _command(folder: Path, encoder: Path, model: Path) -> float:
    """CPU seconds of a prediction of a file, with the start of the process."""
    (folder / "specs.ndjson").write_text("\n".join(_body(number, False) for number in range(100_000)))
    given = ["--encoder", str(encoder), "--model", str(model), "-f", str(folder / "specs.ndjson"), "--format", "json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "podpower", "predict", *given], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    before = _cpu_seconds(process)
    requests, _ = _wrk(port, path, connections, turn)
    return (_cpu_seconds(process) - before) / requests * 1e6


def _cpu_seconds(process) -> float:
    """CPU seconds of a server's process and its workers."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children()))


def _wrk(port: int, path: Path, connections: int, turn: int, *, seconds: int = SECONDS) -> tuple[int, float]:
    """Number of answered requests, and their rate."""
    script = path.parent / "wrk.lua"
    step = (NEW if "new" in path.name else KNOWN) // (2 * ROUNDS)
    script.write_text(WRK.format(path=path, first=(turn * 2 + (connections > 8)) * step))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in printed, printed
    requests = int(re.search(r"(\d+) requests in", printed)[1])
    return requests, requests / seconds


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
