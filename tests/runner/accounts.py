"""The token of its service account, which every container of a pod has unless the pod or the account declines it."""

import copy
from typing import Any

from tests.runner.environment import Lookup

Object = dict[str, Any]
_PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
_NAME = "kube-api-access"
_SOURCES: list[Object] = [
    {"serviceAccountToken": {"path": "token"}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
]


def mounts_token(spec: Object, found: Lookup) -> bool:
    """Whether admission mounts a token in each container of a pod."""
    account = found("ServiceAccount", spec.get("serviceAccountName", "default")) or {}
    return bool(spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)))


def with_token(template: Object, found: Lookup) -> Object:
    """A template as admission leaves it."""
    if not mounts_token(template["spec"], found):
        return template
    template = copy.deepcopy(template)
    spec = template["spec"]
    spec["volumes"] = [*(spec.get("volumes") or []), {"name": _NAME, "projected": {"sources": _SOURCES}}]
    for one in (*(spec.get("initContainers") or []), *spec["containers"]):
        mount = {"name": _NAME, "mountPath": _PLACE, "readOnly": True}
        one["volumeMounts"] = [*(one.get("volumeMounts") or []), mount]
    return template
