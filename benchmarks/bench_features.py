"""Specs a second through the encoder on one core: `python benchmarks/bench_features.py [count]`."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy starts its threads

import json
import resource
import time

import numpy as np

from podpower.features.encoder import Encoder
from podpower.specs.ndjson import decode_request, encode_request
from podpower.specs.requests import Container, InferenceRequest

SOFTWARE = (
    "nginx", "redis", "postgres", "kafka", "zookeeper", "grafana", "prometheus", "loki", "tempo", "envoy", "haproxy",
    "rabbitmq", "mongodb", "mysql", "minio", "etcd", "vault", "consul", "keycloak", "jenkins", "gitlab", "airflow",
    "spark", "flink", "trino", "superset", "pytorch", "triton", "ray", "jupyter",
)  # fmt: skip


def requests_of(count: int, seed: int = 0) -> list[InferenceRequest]:
    """Distinct workloads of one to three containers: no two share a name, so no cache of names helps."""
    rng = np.random.default_rng(seed)
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job")
    teams = [f"team{i}" for i in range(200)]
    drawn = rng.integers(0, 1 << 30, size=(count, 6))
    made = []
    for index, (kind, team, software, extra, cpu, memory) in enumerate(drawn.tolist()):
        name = SOFTWARE[software % len(SOFTWARE)]
        containers = [
            Container(
                name=f"{name}-{index % 977}",
                image=f"registry.example.com/{teams[team % 200]}/{name}-{index}:v1.{index % 50}",
                command=["/usr/bin/" + name, "--config", f"/etc/{name}.yaml", f"--workers={cpu % 16}"],
                req_cpu_mcpu=float(50 + cpu % 4000),
                req_mem_mib=float(64 + memory % 8192),
                lim_mem_mib=float(128 + memory % 16384),
            )
            for _ in range(1 + extra % 3)
        ]
        made.append(
            InferenceRequest(
                namespace=teams[team % 200],
                workload_kind=kinds[kind % len(kinds)],
                workload_name=f"{name}-{teams[extra % 200]}-{index}",
                containers=containers,
                volume_types=["configMap", "emptyDir"][: extra % 3],
            )
        )
    return made


def main(count: int) -> None:
    requests = requests_of(count)
    lines = [encode_request(request) for request in requests]
    started = time.perf_counter()
    encoder = Encoder.fit(requests[:5000])
    fitted_s = time.perf_counter() - started

    started = time.perf_counter()
    vectors = encoder.transform(requests)
    encoded_s = time.perf_counter() - started
    assert vectors.shape == (count, encoder.dim)

    started = time.perf_counter()
    encoder.transform([decode_request(line) for line in lines])
    both_s = time.perf_counter() - started

    ones = requests[: min(count, 500)]
    started = time.perf_counter()
    for request in ones:
        encoder.transform([request])
    one_s = (time.perf_counter() - started) / len(ones)
    result = {
        "specs": count,
        "columns": encoder.dim,
        "fit_5000_s": round(fitted_s, 2),
        "transform_per_s": round(count / encoded_s),
        "decode_and_transform_per_s": round(count / both_s),
        "transform_one_us": round(one_s * 1e6),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
