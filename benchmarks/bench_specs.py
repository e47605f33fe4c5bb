"""How many specs a second are read: NDJSON lines, and YAML manifests beside PyYAML's own C loader."""

import json
import statistics
import time
from collections.abc import Callable

import yaml

from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import decode_request

LINES, MANIFESTS, RUNS = 100_000, 3_000, 3
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web-{i}, namespace: shop, labels: {{app: web-{i}}}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web-{i}}}}}
  template:
    metadata: {{labels: {{app: web-{i}}}}}
    spec:
      containers:
        - name: main
          image: registry.example/shop/web-{i}:1.{i}
          args: ["--port=8080", "--threads={i}", "--config=/etc/web.yaml"]
          env: [{{name: MODE, value: "fast"}}, {{name: DB_PASSWORD, value: "hunter2"}}]
          resources: {{requests: {{cpu: {i}m, memory: 128Mi}}, limits: {{memory: 256Mi}}}}
"""


def line(i: int) -> bytes:
    container = {"name": "main", "image": f"registry.example/shop/web-{i % 900}:1.{i}", "args": [f"--threads={i}"]}
    labels = {"app.kubernetes.io/name": f"web-{i}", "pod-template-hash": f"{i:x}"}
    request = {"workload_kind": "Deployment", "workload_name": f"web-{i}", "labels": labels}
    return json.dumps({**request, "containers": [{**container, "req_cpu_mcpu": i, "req_mem_mib": 128}]}).encode()


def per_second(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def main() -> None:
    lines = [line(i) for i in range(LINES)]
    text = "---\n".join(MANIFEST.format(i=i) for i in range(MANIFESTS)).encode()
    decoded, read, ratios = [], [], []
    for _ in range(RUNS):
        decoded.append(per_second(LINES, lambda: [decode_request(item) for item in lines]))
        ours = per_second(MANIFESTS, lambda: read_manifests(text, source="-"))
        plain = per_second(MANIFESTS, lambda: list(yaml.load_all(text, Loader=yaml.CSafeLoader)))
        read.append(ours)
        ratios.append(ours / plain)
    medians = {
        "ndjson_lines_per_s": round(statistics.median(decoded)),
        "yaml_manifests_per_s": round(statistics.median(read)),
        "beside_pyyaml_c_loader": round(statistics.median(ratios), 2),
    }
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
