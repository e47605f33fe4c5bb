"""Names of what keeps pods alive, one for kinds that do it alike."""

from typing import Final

STATIC_POD: Final = "StaticPod"  # kept by the kubelet of its node
_SAME_KIND: Final = {
    "ReplicaSet": "Deployment",
    "ReplicationController": "Deployment",
    "Rollout": "Deployment",
    "CronJob": "Job",
    "Node": STATIC_POD,
}


def same_kind(kind: str) -> str:
    """One name for kinds whose pods are kept alive alike: a Deployment's, a Rollout's and a ReplicaSet's."""
    return _SAME_KIND.get(kind, kind)
