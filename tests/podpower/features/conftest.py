import pytest

from podpower.specs.requests import Container, InferenceRequest


def _make_request(name="web", image="nginx:1.27", *, kind="Deployment", **fields):
    container_fields = {f: fields.pop(f) for f in list(fields) if f in Container.__struct_fields__}
    container = Container(**{"name": name, "image": image, **container_fields})
    return InferenceRequest(workload_kind=kind, workload_name=name, containers=[container], **fields)


@pytest.fixture(scope="session")
def make_request():
    """Builds a request with one container from keyword arguments of both."""
    return _make_request


@pytest.fixture(scope="session")
def cluster():
    """A small cluster of believable workloads."""
    return [
        _make_request("web", "docker.io/library/nginx:1.27", req_cpu_mcpu=100.0, req_mem_mib=128.0),
        _make_request("shop-frontend", "ghcr.io/acme/shop-frontend:2.1", req_cpu_mcpu=200.0, lim_cpu_mcpu=1000.0),
        _make_request("redis-cache", "redis:7", kind="StatefulSet", volume_types=["persistentVolumeClaim"]),
        _make_request("redis-queue", "bitnami/redis:7.2", kind="StatefulSet"),
        _make_request("postgres", "postgres:16", kind="StatefulSet", req_cpu_mcpu=2000.0, req_mem_mib=8192.0),
        _make_request("kube-proxy", "registry.k8s.io/kube-proxy:v1.32", kind="DaemonSet", node_type="amd64"),
        _make_request("trainer", "nvcr.io/nvidia/pytorch:25.01", kind="Job", gpu_count=8, parallelism=4, completions=4),
        _make_request("nightly", "acme/report:1", kind="CronJob", runtime_class="gvisor"),
    ]
