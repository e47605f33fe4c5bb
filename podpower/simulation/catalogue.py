"""Software and workloads of the simulated cluster."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Software:
    """An image family. `watts` is what a pod draws with `cpu_mcpu` of CPU requested, at an average hour."""

    image: str
    tag: str
    watts: float
    cpu_mcpu: int | None = 100
    mem_mib: int | None = 128
    args: tuple[str, ...] = ()
    gpus: int = 0
    daily_swing: float = 0.3  # how much more by day than by night
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One workload to be made: its kind, where, of what, how many pods."""

    namespace: str
    kind: str
    name: str
    software: Software
    replicas: int = 1
    sidecar: bool = False
    every_minutes: int = 0  # CronJob: how often
    runs_seconds: float = 0.0  # Job, CronJob: how long a pod runs
    env: dict[str, str] = field(default_factory=dict)


def _s(image: str, tag: str, watts: float, **rest: object) -> Software:
    return Software(image=image, tag=tag, watts=watts, **rest)  # type: ignore[arg-type]


_NGINX = _s("nginx", "1.25", 0.6)
_HTTPD = _s("httpd", "2.4", 0.7)
_NODE = _s("ghcr.io/shop/node-api", "4.2.0", 2.2, cpu_mcpu=250, mem_mib=256)
_SPRING = _s("ghcr.io/shop/spring-api", "3.3.1", 5.5, cpu_mcpu=500, mem_mib=1024, args=("--server.threads=8",))
_GOAPI = _s("ghcr.io/shop/go-api", "1.9.0", 0.9, cpu_mcpu=100, mem_mib=64)
_POSTGRES = _s("postgres", "16", 4.0, cpu_mcpu=500, mem_mib=1024, volumes=("persistentVolumeClaim",))
_REDIS = _s("redis", "7.2", 0.5, cpu_mcpu=100, mem_mib=256)
_MONGO = _s("mongo", "7", 3.0, cpu_mcpu=500, mem_mib=2048, volumes=("persistentVolumeClaim",))
_KAFKA = _s("quay.io/strimzi/kafka", "0.43.0", 7.0, cpu_mcpu=1000, mem_mib=4096, daily_swing=0.1)
_PROMETHEUS = _s("quay.io/prometheus/prometheus", "v3.2.1", 3.5, cpu_mcpu=None, mem_mib=None, daily_swing=0.05)
_GRAFANA = _s("docker.io/grafana/grafana", "11.5.2", 0.8, cpu_mcpu=None, mem_mib=None)
_EXPORTER = _s("quay.io/prometheus/node-exporter", "v1.9.0", 0.15, cpu_mcpu=None, mem_mib=None, daily_swing=0.0)
_FLUENT = _s("fluent/fluent-bit", "3.1", 0.4, cpu_mcpu=50, mem_mib=64)
_CILIUM = _s("quay.io/cilium/cilium", "v1.17.0", 1.6, cpu_mcpu=None, mem_mib=None, daily_swing=0.1)
_ETCD = _s("registry.k8s.io/etcd", "3.5.16-0", 1.5, daily_swing=0.0)
_APISERVER = _s("registry.k8s.io/kube-apiserver", "v1.32.3", 2.9, cpu_mcpu=250, mem_mib=None, daily_swing=0.1)
_SCHEDULER = _s("registry.k8s.io/kube-scheduler", "v1.32.3", 0.6, daily_swing=0.0)
_SPARK = _s("apache/spark", "3.5.3", 18.0, cpu_mcpu=4000, mem_mib=8192, args=("--executor-cores=4",), daily_swing=0.0)
_FFMPEG = _s("linuxserver/ffmpeg", "7.1", 28.0, cpu_mcpu=6000, mem_mib=2048, args=("-threads", "6"), daily_swing=0.0)
_TORCH = _s("pytorch/pytorch", "2.5.1", 190.0, cpu_mcpu=8000, mem_mib=32768, gpus=1, daily_swing=0.0)
_VLLM = _s("vllm/vllm-openai", "v0.6.3", 130.0, cpu_mcpu=4000, mem_mib=24576, gpus=1, daily_swing=0.5)
_BACKUP = _s("ghcr.io/ops/backup", "2.1", 2.5, cpu_mcpu=200, mem_mib=128, daily_swing=0.0)
_REPORT = _s("ghcr.io/ops/report", "1.4", 5.0, cpu_mcpu=1000, mem_mib=512, daily_swing=0.0)
_PAUSE = _s("registry.k8s.io/pause", "3.10", 0.004, cpu_mcpu=None, mem_mib=None, daily_swing=0.0)
_RAY = _s("rayproject/ray", "2.38.0", 14.0, cpu_mcpu=2000, mem_mib=8192, daily_swing=0.2)


def _w(namespace: str, kind: str, name: str, software: Software, **rest: object) -> Planned:
    return Planned(namespace=namespace, kind=kind, name=name, software=software, **rest)  # type: ignore[arg-type]


# In this order: a small cluster has the first ones.
WORKLOADS = (
    _w("shop", "Deployment", "frontend", _NGINX, replicas=3, sidecar=True),
    _w("kube-system", "DaemonSet", "cilium", _CILIUM),
    _w("kube-system", "Node", "etcd", _ETCD),
    _w("shop", "StatefulSet", "postgres", _POSTGRES, env={"POSTGRES_PASSWORD": "not-a-real-secret-1"}),
    _w(
        "shop",
        "Deployment",
        "catalog",
        _NODE,
        replicas=2,
        env={"DB_URL": "postgres://app:not-a-real-secret-2@postgres/shop"},
    ),
    _w("ops", "CronJob", "backup", _BACKUP, every_minutes=15, runs_seconds=260.0),
    _w("shop", "Rollout", "checkout", _SPRING, replicas=2),
    _w("ml", "Job", "train-ranker", _TORCH, runs_seconds=7200.0),
    _w("monitoring", "StatefulSet", "prometheus", _PROMETHEUS),
    _w("monitoring", "DaemonSet", "node-exporter", _EXPORTER),
    _w("shop", "Deployment", "cart", _GOAPI, replicas=2),
    _w("shop", "Deployment", "session-cache", _REDIS),
    _w("default", "Pod", "debug-shell", _PAUSE),
    _w("kube-system", "Node", "kube-apiserver", _APISERVER),
    _w("ops", "CronJob", "ping", _BACKUP, every_minutes=5, runs_seconds=25.0),
    _w("data", "Job", "etl", _SPARK, replicas=2, runs_seconds=5400.0),
    _w("blog", "Deployment", "blog", _HTTPD),
    _w("ml", "Deployment", "chat", _VLLM),
    _w("ml", "RayCluster", "features", _RAY, replicas=2),
    _w("monitoring", "Deployment", "grafana", _GRAFANA),
    _w("logging", "DaemonSet", "fluent-bit", _FLUENT),
    _w("kube-system", "Node", "kube-scheduler", _SCHEDULER),
    _w("data", "StatefulSet", "kafka", _KAFKA, replicas=3),
    _w("blog", "StatefulSet", "blog-db", _POSTGRES),
    _w("shop", "Deployment", "search", _SPRING),
    _w("shop", "Deployment", "images", _NGINX, replicas=2),
    _w("data", "CronJob", "daily-report", _REPORT, every_minutes=60, runs_seconds=900.0),
    _w("media", "Job", "transcode", _FFMPEG, replicas=2, runs_seconds=3600.0),
    _w("data", "StatefulSet", "mongo", _MONGO),
    _w("shop", "Deployment", "recommendations", _NODE),
    _w("docs", "Deployment", "docs", _NGINX),
    _w("docs", "Deployment", "docs-search", _GOAPI),
    _w("data", "Deployment", "queue-cache", _REDIS),
    _w("iot", "Deployment", "gateway", _GOAPI, replicas=2),
    _w("iot", "StatefulSet", "timeseries", _POSTGRES),
    _w("iot", "CronJob", "downsample", _REPORT, every_minutes=30, runs_seconds=420.0),
    _w("media", "Deployment", "player", _HTTPD, replicas=2, sidecar=True),
    _w("ml", "Deployment", "embedder", _VLLM),
    _w("data", "Rollout", "ingest", _SPRING),
    _w("ops", "Deployment", "status-page", _HTTPD),
)


def planned(count: int, rng: np.random.Generator) -> list[Planned]:
    """Return `count` workloads: those above, then variations of them in teams of their own."""
    found = list(WORKLOADS[:count])
    while len(found) < count:
        base = WORKLOADS[len(found) % len(WORKLOADS)]
        if base.kind in {"Node", "DaemonSet"}:
            base = WORKLOADS[0]
        number, replicas = len(found), int(rng.integers(1, 4))
        found.append(
            Planned(
                namespace=f"team-{number // 20}",
                kind=base.kind,
                name=f"{base.name}-{number}",
                software=base.software,
                replicas=1 if base.kind == "Pod" else replicas,  # a second bare pod would have the name of the first
                sidecar=base.sidecar,
                every_minutes=base.every_minutes,
                runs_seconds=base.runs_seconds,
            )
        )
    return found
