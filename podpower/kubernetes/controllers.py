"""Names of controllers, one for kinds that keep pods alive alike."""

from typing import Final

from podpower.kubernetes.kinds import KINDS

STATIC_POD: Final = "StaticPod"  # kept by the kubelet of its node


def same_kind(kind: str) -> str:
    """Return one name for kinds whose pods are kept alive alike: Deployment, Rollout and ReplicaSet.

    >>> [same_kind(kind) for kind in ("Rollout", "CronJob", "Node", "RayCluster")]
    ['Deployment', 'Job', 'StaticPod', 'RayCluster']
    """
    if kind == "Node":
        return STATIC_POD
    return (KINDS[kind].same_as if kind in KINDS else None) or kind
