"""Manifests and labels of a small shop."""

import polars as pl

IMAGES = ("nginx:1.27", "postgres:16", "redis:7", "ghcr.io/acme/etl-worker:3", "ghcr.io/acme/api:1", "python:3.12")
STEPS = 40


def manifest(name, image, *, cpu="250m", memory="256Mi", replicas=2):
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: main
          image: {image}
          resources: {{requests: {{cpu: {cpu}, memory: {memory}}}}}
"""


def labels(names, *, energy_j=None):
    """Window labels, one pod a workload, a step a minute; `energy_j` for all, else each its own."""
    rows = [
        {
            "ts": 1_767_225_660.0 + 60 * step,
            "namespace": "shop",
            "workload_kind": "Deployment",
            "workload_name": name,
            "pod": f"{name}-7c9d8b6f5-x2x4z",
            "avg_power_w": None,
            "energy_step_j": float(4 * 2**index + step % 3) if energy_j is None else energy_j,
        }
        for index, name in enumerate(names)
        for step in range(STEPS)
    ]
    return pl.DataFrame(rows, schema_overrides={"avg_power_w": pl.Float64})
