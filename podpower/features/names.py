"""Images and workload names without what differs between clusters, versions and restarts of the same software."""

import re
from functools import lru_cache

from podpower.kubernetes.images import image_key
from podpower.specs.requests import InferenceRequest
from podpower.specs.sidecars import main_container

# The alphabet of Kubernetes' generated suffixes (k8s.io/apimachinery/pkg/util/rand): no vowels, no 0, 1, 3.
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_POD_SUFFIX = re.compile(rf"(?:-{_SAFE}{{5,10}})?-{_SAFE}{{5}}$")
_ORDINAL = re.compile(r"-\d{1,4}$")
_REPLICASET_SUFFIX = re.compile(rf"-{_SAFE}{{5,10}}$")
_CRONJOB_SUFFIX = re.compile(r"-\d{8,10}(?=$|-)")


def main_image_key(request: InferenceRequest) -> str | None:
    """The image key of the container that the pod is there for: what groups and the per-image baseline go by."""
    main = main_container(request.containers)
    return image_key(main.image) if main else None


# A pod as collected from a cluster carries the labels its controller gave it. In this order: a StatefulSet's pod has a
# controller-revision-hash too.
_MARKS = (
    ("statefulset.kubernetes.io/pod-name", "StatefulSet"),
    ("pod-template-hash", "Deployment"),
    ("job-name", "Job"),
    ("batch.kubernetes.io/job-name", "Job"),
    ("controller-revision-hash", "DaemonSet"),
)
_SAME_KIND = {
    "ReplicaSet": "Deployment",
    "ReplicationController": "Deployment",
    "Rollout": "Deployment",
    "CronJob": "Job",
}


def same_kind(kind: str) -> str:
    """One name for kinds whose pods are kept alive alike: a Deployment's, a Rollout's and a ReplicaSet's."""
    return _SAME_KIND.get(kind, kind)


def controller_kind(request: InferenceRequest) -> str:
    """What keeps the pods alive, so that a pod, its ReplicaSet and its Deployment read alike; "StaticPod" for a pod
    that its node keeps, "Pod" for one that nothing keeps.
    """
    if request.workload_kind != "Pod":
        return same_kind(request.workload_kind)
    if "kubernetes.io/config.mirror" in request.annotations:
        return "StaticPod"
    return next((kind for label, kind in _MARKS if label in request.labels), "Pod")


def kept_by(request: InferenceRequest) -> str:
    """`controller_kind` as labels tell it, which know static pods by their own name only."""
    kind = controller_kind(request)
    return "Pod" if kind == "StaticPod" else kind


@lru_cache(maxsize=1 << 14)
def stable_name(kind: str, name: str) -> str:
    """The workload's name without generated parts, so that a pod reads like the controller that made it.

    >>> stable_name("Pod", "redis-748ffbc5f5-7f2j5"), stable_name("Pod", "prometheus-0")
    ('redis', 'prometheus')
    """
    if kind == "Pod":
        name = _ORDINAL.sub("", _POD_SUFFIX.sub("", name))
    elif kind == "ReplicaSet":
        name = _REPLICASET_SUFFIX.sub("", name)
    if kind in ("Pod", "Job"):
        name = _CRONJOB_SUFFIX.sub("", name)
    return name
