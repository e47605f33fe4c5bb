"""Which containers of a pod are there to serve the others."""

from collections.abc import Sequence

from podpower.images import image_key
from podpower.specs.shapes import KubeContainer

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


def is_injected(container: KubeContainer) -> bool:
    """Whether the container is one of those that meshes and agents are known to inject."""
    repository = image_key(container.image) or ""
    parts = repository.split("/")
    return container.name in INJECTED_NAMES or parts[-1] in INJECTED_IMAGES or "/".join(parts[-2:]) in INJECTED_IMAGES


def is_native(container: KubeContainer) -> bool:
    """Whether an init container keeps running beside the pod's containers (Kubernetes 1.29 and later)."""
    return container.restart_policy == "Always"


def split_init(containers: Sequence[KubeContainer]) -> tuple[list[KubeContainer], list[KubeContainer]]:
    """Init containers that end, and those that are native sidecars."""
    return [c for c in containers if not is_native(c)], [c for c in containers if is_native(c)]
