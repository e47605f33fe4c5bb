"""Sidecars: containers of a pod that serve the others."""

from collections.abc import Sequence

from podpower.kubernetes.images import image_key
from podpower.kubernetes.types import KubeContainer
from podpower.specs.requests import Container

# Containers that admission webhooks add to pods, by name or by the last part of their image's repository.
INJECTED_NAMES = frozenset(
    (
        "istio-proxy",
        "istio-init",
        "istio-validation",
        "linkerd-proxy",
        "linkerd-init",
        "envoy-sidecar",
        "consul-dataplane",
        "kuma-sidecar",
        "vault-agent",
        "vault-agent-init",
        "daprd",
        "cloud-sql-proxy",
        "cloudsql-proxy",
        "gke-gcsfuse-sidecar",
        "aws-otel-collector",
        "datadog-agent-sidecar",
        "filebeat-sidecar",
        "fluentbit-sidecar",
        "queue-proxy",
        "osm-proxy",
        "secrets-store-agent",
    )
)
INJECTED_IMAGES = frozenset({"proxyv2", "linkerd/proxy", "linkerd-io/proxy", "dapr/daprd", "daprd", "consul-dataplane"})
# What charts set beside the container that a pod is there for, mostly before it in the list.
HELPER_IMAGES = frozenset(
    {
        "k8s-sidecar",
        "kube-rbac-proxy",
        "prometheus-config-reloader",
        "configmap-reload",
        "oauth2-proxy",
        "git-sync",
        "pause",
    }
)


def is_injected(container: KubeContainer | Container) -> bool:
    """Return whether the container is one that service meshes and agents inject."""
    repository = image_key(container.image) or ""
    names = repository, repository.rpartition("/")[2]
    return container.name in INJECTED_NAMES or any(name in INJECTED_IMAGES for name in names)


def main_container(containers: Sequence[Container]) -> Container | None:
    """Return the first container that is not a known sidecar or helper, else the first; None where there is none."""
    if len(containers) == 1:  # as in most pods
        return containers[0]
    for container in containers:
        name = (image_key(container.image) or "").rpartition("/")[2]
        if not is_injected(container) and name not in HELPER_IMAGES:
            return container
    return containers[0] if containers else None


def is_native(container: KubeContainer) -> bool:
    """Return whether an init container keeps running beside the pod's containers (Kubernetes 1.29 and later)."""
    return container.restart_policy == "Always"


def split_init(containers: Sequence[KubeContainer]) -> tuple[list[KubeContainer], list[KubeContainer]]:
    """Return the init containers that end, and those that are native sidecars."""
    return [c for c in containers if not is_native(c)], [c for c in containers if is_native(c)]
