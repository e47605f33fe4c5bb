"""A large cluster listed and watched: time and memory for 50,000 pods, and how soon a change is a line.

The API server is the tests' own, in this process; `podpower collect watch` runs beside it. `--pods` and `--seconds` set
the size. Beside the list is a program that downloads the same pages and decodes them as JSON: on a machine that others
use, CPU seconds and their ratio count. Exits with 1 where the list of 50,000 pods took more than 8 s of CPU.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # the API server of the tests
from podpower.sources.journal.reader import JournalReader
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, owned, running_pod, write_kubeconfig

PODS_A_WORKLOAD = 25
EVENTS_A_SECOND = 500
GOAL_CPU_S, GOAL_PODS = 8.0, 50_000
PLAIN = """
import json, sys, time, urllib.request
rest, pods = "", 0
while True:
    with urllib.request.urlopen(f"{sys.argv[1]}/api/v1/pods?limit=500&continue={rest}") as response:
        page = json.loads(response.read())
    pods += len(page["items"])
    rest = page["metadata"].get("continue", "")
    if not rest:
        break
print(pods, time.process_time())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, FakeCluster() as cluster:
        config = write_kubeconfig(Path(folder) / "config", cluster.url)
        fill(cluster, arguments.pods)
        listed = list_all(config, Path(folder) / "listed.ndjson", pods=arguments.pods)
        listed |= compared(cluster.url, listed["list_cpu_s"])
        collected = collect_all(config, Path(folder) / "journal")
        workloads = -(-arguments.pods // PODS_A_WORKLOAD)
        told = follow(cluster, config, Path(folder) / "told.ndjson", seconds=arguments.seconds, workloads=workloads)
    print(json.dumps({"pods": arguments.pods, **listed, **collected, **told}))
    goal_s = GOAL_CPU_S * arguments.pods / GOAL_PODS
    print(f"list of {arguments.pods} pods: {listed['list_cpu_s']:.1f} s of CPU (goal: {goal_s:g} s)")
    return 0 if listed["list_cpu_s"] <= goal_s else 1


def fill(cluster: FakeCluster, pods: int) -> None:
    """Deployments with their ReplicaSets, and pods with what a real one carries beside its spec: about 5 KB each."""
    baggage = [{"manager": "kubelet", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {
        f"f:field-{n}": {"f:nested": {}, "f:more": {}} for n in range(60)}}]  # fmt: skip
    statuses = [{"name": "main", "ready": True, "restartCount": 0, "imageID": "sha256:" + "0" * 64} for _ in range(4)]
    made = []
    for number in range(-(-pods // PODS_A_WORKLOAD)):
        web = deployment(f"web-{number}", image=f"registry.example/team/web-{number % 97}:1", LOG_LEVEL="info")
        stored = {**web, "metadata": {**web["metadata"], "uid": f"d-{number}"}}
        template = web["spec"]["template"]
        replicas = owned("ReplicaSet", f"web-{number}-5d9", stored, spec={"replicas": 25, "template": template})
        replicas["metadata"]["uid"] = f"r-{number}"
        made += [stored, replicas]
        for pod_number in range(min(PODS_A_WORKLOAD, pods - number * PODS_A_WORKLOAD)):
            pod = running_pod(f"web-{number}-5d9-{pod_number:05d}", replicas, template, labels={"app": f"web-{number}"})
            pod["metadata"]["managedFields"] = baggage
            pod["status"]["containerStatuses"] = statuses
            made.append(pod)
    cluster.put_many(made)


def list_all(config: Path, out: Path, *, pods: int) -> dict[str, float]:
    """Every pod as a line under its Deployment, by the template of its ReplicaSet."""
    began = time.perf_counter()
    watch = start(config, out, "--kinds", "Pod", "--emit-initial")
    process = psutil.Process(watch.pid)
    peak = 0.0
    while lines_of(out) < pods:
        peak = max(peak, process.memory_info().rss / 2**20)
        if watch.poll() is not None:
            raise SystemExit("the watch ended")
        time.sleep(0.2)
    seconds, times = time.perf_counter() - began, process.cpu_times()
    stop(watch)
    cpu_s = round(times.user + times.system, 1)
    return {"list_and_normalise_s": round(seconds, 1), "list_cpu_s": cpu_s, "list_peak_mib": round(peak)}


def compared(url: str, list_cpu_s: float) -> dict[str, float]:
    """CPU of a program that downloads the same pages and decodes them."""
    done = subprocess.run([sys.executable, "-c", PLAIN, url], check=True, capture_output=True, text=True)
    plain_s = float(done.stdout.split()[1])
    return {"plain_cpu_s": round(plain_s, 1), "list_ratio": round(list_cpu_s / plain_s, 2)}


def collect_all(config: Path, journal: Path) -> dict[str, object]:
    """The first list of the collector, and a tick of a sensor that finds nothing new."""
    began = time.perf_counter()
    command = ["collect", "watch", "--kubeconfig", str(config), "--journal", str(journal)]
    collector = subprocess.Popen([sys.executable, "-m", "podpower", *command], stderr=subprocess.DEVNULL)
    process = psutil.Process(collector.pid)
    peak = 0.0
    while not (journal / "journal.json").exists():
        peak = max(peak, process.memory_info().rss / 2**20)
        time.sleep(0.1)
    first_s = time.perf_counter() - began
    _, cursor = JournalReader(journal).changes(None)
    began = time.perf_counter()
    JournalReader(journal).changes(cursor)
    tick_s = time.perf_counter() - began
    stop(collector)
    return {"journal_begins_s": round(first_s, 1), "collector_peak_mib": round(peak), "quiet_tick_s": round(tick_s, 3)}


def follow(cluster: FakeCluster, config: Path, out: Path, *, seconds: int, workloads: int) -> dict[str, object]:
    """Changes of Deployments at a steady rate, each timed until its line is there to be read."""
    watch = start(config, out, "--kinds", "Deployment")
    cluster.wait_for_watches(1, timeout=60)
    time.sleep(1)
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    done = threading.Event()
    reading = threading.Thread(target=read_along, args=(out, seen, done))
    reading.start()
    began = time.time()
    for number in range(EVENTS_A_SECOND * seconds):
        due = began + number / EVENTS_A_SECOND
        time.sleep(max(0.0, due - time.time()))
        sent_s = time.time()
        stored = cluster.update(
            deployment(f"web-{number % min(200, workloads)}", image=f"nginx:{number}", LOG_LEVEL="info")
        )
        sent[stored["metadata"]["resourceVersion"]] = sent_s
    deadline = time.time() + 30
    while len(seen) < len(sent) and time.time() < deadline:
        time.sleep(0.1)
    done.set()
    reading.join()
    stop(watch)
    delays = [seen[version] - sent_s for version, sent_s in sent.items() if version in seen]
    p50, p99 = np.percentile(delays, [50, 99]) * 1000
    lost = len(sent) - len(seen)
    return {"events": len(sent), "lost": lost, "event_p50_ms": round(p50, 1), "event_p99_ms": round(p99, 1)}


def read_along(out: Path, seen: dict[str, float], done: threading.Event) -> None:
    """When each line could be read."""
    pending = b""
    with out.open("rb") as stream:
        while not done.is_set():
            chunk = stream.read()
            if not chunk:
                time.sleep(0.002)
                continue
            now_s = time.time()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                seen[msgspec.json.decode(line)["resource_version"]] = now_s


def start(config: Path, out: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "podpower", "collect", "watch", "--kubeconfig", os.fspath(config)]
    return subprocess.Popen([*command, "--output", os.fspath(out), *options], stderr=subprocess.DEVNULL)


def stop(watch: "subprocess.Popen[bytes]") -> None:
    watch.send_signal(signal.SIGTERM)
    if watch.wait(timeout=30) != 0:
        raise SystemExit("the watch did not end cleanly")


def lines_of(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


if __name__ == "__main__":
    sys.exit(main())
