"""CPU time of an admission review and time to its answer, at a steady pace, beside the goal of 10 ms at p99.

python benchmarks/bench_admission.py [ENCODER MODEL]; without artifacts it trains some on a simulated cluster. Reviews
are distinct, as the API server sends them: with managed fields, and updates with the former object. One client sends
them over one connection at its own pace. The goal is held against the CPU time of the service for each review, as the
kernel counts it (/proc), since the time to an answer depends on what else the machine does; both are printed.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import bench_serving

GOAL, GOAL_MS = "CPU ms a review, p99", 10.0
PER_SECOND, REVIEWS = 100, 1000
LARGE_BYTES, LARGE_REVIEWS = 1 << 20, 50


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        encoder, model = sys.argv[1:] if len(sys.argv) == 3 else bench_serving._trained(Path(folder))
        budgets = Path(folder) / "budgets.yaml"
        budgets.write_text("".join(f"team-{number}: 1e6\n" for number in range(0, 40, 2)))
        environment = {
            **os.environ,
            "ENCODER_PATH": str(encoder),
            "MODEL_PATH": str(model),
            "PODPOWER_BUDGETS": str(budgets),
        }
        serve = [sys.executable, "-m", "podpower", "serve", "--port"]
        with bench_serving._running(serve, environment) as (_, (process, port), _):
            _paced(process, port, [_review(number) for number in range(200)])  # warm
            waited, used = _paced(process, port, [_review(number) for number in range(REVIEWS)])
            _, large = _paced(process, port, [_review(n, padding=LARGE_BYTES) for n in range(LARGE_REVIEWS)], pace=10)
    figures = {
        "CPU ms a review, p50": _at(used, 0.5),
        GOAL: _at(used, 0.99),
        "CPU ms a review of a MiB, p99": _at(large, 0.99),
        "ms to the answer, p50": _at(waited, 0.5),
        "ms to the answer, p99": _at(waited, 0.99),
        "load of the machine": os.getloadavg()[0],
    }
    for name, value in figures.items():
        print(f"{name:55s}{value:10,.2f}" + (f"   goal {GOAL_MS:g}" if name == GOAL else ""))
    sys.exit(figures[GOAL] > GOAL_MS)


def _paced(process, port: int, reviews: list[bytes], *, pace: float = PER_SECOND) -> tuple[list[float], list[float]]:
    """Return the milliseconds to each answer, and those of the CPU, each ascending."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    waited, used = [], []
    due = time.perf_counter()
    for body in reviews:
        due = max(due + 1 / pace, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
        before, began = _cpu_ms(process.pid), time.perf_counter()
        connection.request("POST", "/admission?timeout=2s", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        waited.append((time.perf_counter() - began) * 1000)
        used.append(_cpu_ms(process.pid) - before)
        assert answer["response"]["auditAnnotations"]["outcome"] == "annotated", answer
    connection.close()
    return sorted(waited), sorted(used)


def _cpu_ms(pid: int) -> float:
    """Return the CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def _at(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


def _review(number: int, *, padding: int = 0) -> bytes:
    """An object of one of five kinds with three containers, half of them updates, half in a namespace with a budget."""
    request = json.loads(bench_serving._body(number, number % 10 == 0))
    name, namespace, container = request["workload_name"], request["namespace"], request["containers"][0]
    kind = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Deployment")[number % 5]
    containers = [
        {
            "name": f"{name}-{place}"[:63],
            "image": container["image"],
            "args": container["args"],
            "env": [{"name": f"VARIABLE_{i}", "value": f"value {number} {i}"} for i in range(20)],
            "resources": {"requests": {"cpu": f"{container['req_cpu_mcpu']}m", "memory": "256Mi"}},
        }
        for place in range(3)
    ]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    managed = {"manager": "kubectl", "operation": "Update", "fieldsV1": {f"f:{i}": {".": {}} for i in range(100)}}
    obj = {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": request["annotations"],
            "managedFields": [managed],
        },
        "spec": {"replicas": request["replicas"], "template": template},
        "status": {"conditions": [{"message": "x" * padding}]},
    }
    old = {**obj, "spec": {**obj["spec"], "replicas": request["replicas"] + 1}}
    update = number % 4 < 2
    review = {
        "uid": f"uid-{number}",
        "operation": "UPDATE" if update else "CREATE",
        "namespace": namespace,
        "name": name,
        "object": obj,
        "oldObject": old if update else None,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": review}).encode()


if __name__ == "__main__":
    main()
