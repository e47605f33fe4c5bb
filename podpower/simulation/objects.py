"""Raw Kubernetes objects as the API server would give them."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from podpower.kubernetes.kinds import KINDS
from podpower.simulation.catalogue import Software

Object = dict[str, Any]

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand
_API = {name: kind.api_version for name, kind in KINDS.items()} | {"Node": "v1", "RayCluster": "ray.io/v1"}
_VERSION = 1000


def uid_of(*parts: object) -> str:
    """Return a uid that is the same for the same parts."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def suffix_of(length: int, *parts: object) -> str:
    """Return a suffix in the alphabet of generated names."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:length])


def obj(
    kind: str, name: str, namespace: str, uid: str, *, ts: float, owner: Object | None = None, **body: Any
) -> Object:
    """Return an object with the metadata that the API server adds; `owner` becomes its controller."""
    created = datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": str(int(ts * _VERSION)),
        "creationTimestamp": created,
        "labels": body.pop("labels", {}),
    }
    if owner is not None:
        metadata["ownerReferences"] = [reference(owner)]
    return {"apiVersion": _API[kind], "kind": kind, "metadata": metadata, **body}


def reference(owner: Object) -> Object:
    """Return an ownerReference of a controller."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template(
    name: str, software: Software, *, image: str, cpu_mcpu: int | None, sidecar: bool, env: dict[str, str]
) -> Object:
    """Return a pod template with the defaults that the API server fills in."""
    requests: Object = {}
    limits: Object = {}
    if cpu_mcpu is not None:
        requests["cpu"] = f"{cpu_mcpu}m"
    if software.mem_mib is not None:
        requests["memory"] = limits["memory"] = f"{software.mem_mib}Mi"
    if software.gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(software.gpus)
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    main: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    if software.args:
        main["args"] = list(software.args)
    if env:
        main["env"] = [{"name": key, "value": value} for key, value in env.items()]
    spec: Object = {
        "containers": [main],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    if sidecar:
        proxy = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.24.1", "resources": {}}
        spec["containers"].append({**proxy, "imagePullPolicy": "IfNotPresent"})
    if software.volumes:
        spec["volumes"] = [{"name": f"data-{v.lower()}", v: {"claimName": f"{name}-data"}} for v in software.volumes]
    return {"metadata": {"creationTimestamp": None, "labels": {"app": name}}, "spec": spec}


def running_pod(
    name: str,
    namespace: str,
    uid: str,
    *,
    ts: float,
    owner: Object | None,
    pod_template: Object,
    node: str,
    labels: Object,
) -> Object:
    """Return a pod of a template, with what the API server and the kubelet add to it."""
    token = {"name": f"kube-api-access-{suffix_of(5, uid)}", "projected": {"defaultMode": 420, "sources": []}}
    spec = pod_template["spec"]
    containers = [
        {**c, "volumeMounts": [{"name": token["name"], "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}
        for c in spec["containers"]
    ]
    pod_spec = {
        **spec,
        "containers": containers,
        "nodeName": node,
        "serviceAccountName": "default",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        "volumes": [*spec.get("volumes", []), token],
    }
    all_labels = {**pod_template["metadata"]["labels"], **labels}
    status = {"phase": "Running", "startTime": datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return obj("Pod", name, namespace, uid, ts=ts, owner=owner, labels=all_labels, spec=pod_spec, status=status)


def with_phase(pod: Object, phase: str, *, ts: float) -> Object:
    """Return the pod in another phase."""
    metadata = {**pod["metadata"], "resourceVersion": str(int(ts * _VERSION))}
    return {**pod, "metadata": metadata, "status": {**pod["status"], "phase": phase}}
