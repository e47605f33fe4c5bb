"""Images and workload names without what differs between clusters, versions and restarts of the same software."""

import re
from functools import lru_cache

from podpower.kubernetes.controllers import STATIC_POD, same_kind
from podpower.kubernetes.images import image_key
from podpower.specs.requests import InferenceRequest
from podpower.specs.sidecars import main_container

# The alphabet of Kubernetes' generated suffixes (k8s.io/apimachinery/pkg/util/rand): no vowels, no 0, 1, 3.
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_POD_SUFFIX = re.compile(rf"(?:-{_SAFE}{{5,10}})?-{_SAFE}{{5}}$")
_ORDINAL = re.compile(r"-\d{1,4}$")
_REPLICASET_SUFFIX = re.compile(rf"-{_SAFE}{{5,10}}$")
_CACHED_CHARS = 256  # of a name; those of Kubernetes have 253
_CRONJOB_SUFFIX = re.compile(r"-\d{8,10}(?=$|-)")


def main_image_key(request: InferenceRequest) -> str | None:
    """Return the image key of the container that the pod is there for: what groups and the per-image baseline go by."""
    main = main_container(request.containers)
    return image_key(main.image) if main else None


# Language runtimes, distributions and shells: the image names the tool, not the program. By the last part of the key.
_BASE_IMAGES = frozenset(
    (
        "alpine", "almalinux", "amazoncorretto", "amazonlinux", "bash", "buildpack-deps", "busybox", "bun", "centos",
        "clojure", "conda", "cuda", "curl", "dart", "debian", "deno", "distroless", "dotnet", "eclipse-temurin",
        "elixir", "erlang", "fedora", "golang", "gradle", "graalvm", "groovy", "haskell", "java", "jdk", "jre", "julia",
        "jupyter", "linux", "maven", "microdnf", "miniconda", "miniconda3", "node", "nodejs", "openjdk", "oraclelinux",
        "perl", "php", "photon", "pypy", "python", "pytorch", "r-base", "rockylinux", "ruby", "runtime", "rust",
        "sapmachine", "scala", "scratch", "static", "swift", "tensorflow", "toolbox", "ubi", "ubi-minimal", "ubi8",
        "ubi9", "ubuntu", "wolfi-base",
    )
)  # fmt: skip


def is_base_image(key: str) -> bool:
    """Return True if an image key names a runtime or a base image, which hardly predicts the program that runs on it.

    >>> is_base_image("python"), is_base_image("bitnami/node"), is_base_image("grafana/grafana")
    (True, True, False)
    """
    return key.rpartition("/")[2] in _BASE_IMAGES


# A pod as collected from a cluster carries the labels its controller gave it. In this order: a StatefulSet's pod has a
# controller-revision-hash too.
_MARKS = (
    ("statefulset.kubernetes.io/pod-name", "StatefulSet"),
    ("pod-template-hash", "Deployment"),
    ("job-name", "Job"),
    ("batch.kubernetes.io/job-name", "Job"),
    ("controller-revision-hash", "DaemonSet"),
)


def controller_kind(request: InferenceRequest) -> str:
    """Return the kind of controller that keeps the pods alive: one name for a pod, its ReplicaSet and its Deployment;
    "StaticPod" for a pod of its node, "Pod" for one without a controller.
    """
    if request.workload_kind != "Pod":
        return same_kind(request.workload_kind)
    if "kubernetes.io/config.mirror" in request.annotations:
        return STATIC_POD
    return next((kind for label, kind in _MARKS if label in request.labels), "Pod")


def stable_name(kind: str, name: str) -> str:
    """Return the workload's name without generated parts, so that a pod reads like the controller that made it.

    >>> stable_name("Pod", "redis-748ffbc5f5-7f2j5"), stable_name("Pod", "prometheus-0")
    ('redis', 'prometheus')
    """
    return _stable(kind, name) if len(name) <= _CACHED_CHARS else _stable.__wrapped__(kind, name)


@lru_cache(maxsize=1 << 14)
def _stable(kind: str, name: str) -> str:
    if kind == "Pod":
        name = _ORDINAL.sub("", _POD_SUFFIX.sub("", name))
    elif kind == "ReplicaSet":
        name = _REPLICASET_SUFFIX.sub("", name)
    if kind in ("Pod", "Job"):
        name = _CRONJOB_SUFFIX.sub("", name)
    return name
