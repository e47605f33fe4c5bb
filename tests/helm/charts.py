"""The chart as Helm itself renders it, and a matrix of values that covers its branches."""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "helm" / "podpower"
NAME, NAMESPACE = "podpower", "power"
SCALED = {
    "profile": "scaled",
    "storage": {"url": "s3://bucket/podpower"},
    "postgres": {"existingSecret": "history"},
}
# What each set of values turns on is in its name.
MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "scaled": SCALED,
    "scaled, several clusters": {
        **SCALED,
        "collector": {"replicas": 2},
        "runs": {"stepsInPods": False},
        "moreClusters": [{"name": "edge", "kubeconfig": "/etc/podpower/clusters/edge"}],
        "clustersSecret": "kubeconfigs",
    },
    "measured": {
        "cluster": {
            "name": "prod",
            "namespaces": ["shop"],
            "excludeNamespaces": ["shop-dev"],
            "kinds": ["ray.io/v1/rayclusters", "v1/namespaces"],
            "prometheus": {
                "url": "http://prometheus.monitoring.svc:9090",
                "match": ['cluster="prod"'],
                "existingSecret": "prometheus",
                "secretKeys": ["token", "ca.crt"],
            },
        },
    },
    "several clusters": {
        "moreClusters": [
            {"name": "edge", "kubeconfig": "/etc/podpower/clusters/edge"},
            {"name": "lab", "kubeconfig": "/etc/podpower/clusters/lab", "namespaces": ["ml"]},
        ],
        "clustersSecret": "kubeconfigs",
    },
    "placed and labelled": {
        "images": {
            "registry": "registry.test/team",
            "pullSecrets": ["pull"],
            "serving": {"digest": "sha256:" + "a" * 64},
        },
        "commonLabels": {"team": "energy"},
        "fullnameOverride": "watts",
        "storage": {"storageClass": "fast", "keep": False},
        "postgres": {"storageClass": "fast"},
        "settings": {"PODPOWER_WINDOW_DAYS": "14"},
        "settingsSecrets": ["cloud"],
        "platform": {
            "store": {"apiKeySecret": "store"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "high",
            "podAnnotations": {"a": "b"},
            "serviceAccountAnnotations": {"role": "reader"},
        },
        "serving": {
            "autoscaling": {"enabled": False},
            "replicas": 3,
            "workers": 2,
            "apiKeysSecret": "keys",
            "corsOrigins": ["https://watts.test"],
            "docs": False,
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "high",
            "podAnnotations": {"a": "b"},
        },
    },
    "reached and guarded": {
        "ingress": {
            "enabled": True, "className": "nginx", "host": "watts.test", "tlsSecret": "watts", "annotations": {"a": "b"}
        },
        "networkPolicies": {
            "dagsterFrom": [{"namespaceSelector": {"matchLabels": {"team": "energy"}}}],
            "servingFrom": [{"namespaceSelector": {"matchLabels": {"team": "energy"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
        },
        "webhook": {
            "certificates": "cert-manager",
            "excludeNamespaces": ["flux"],
            "namespaceSelector": [{"key": "watts", "operator": "Exists"}],
            "denyNamespaces": ["shop"],
        },
    },
    "watched": {
        "monitoring": {
            "labels": {"release": "prometheus"},
            "serviceMonitor": {"enabled": True},
            "rules": {"enabled": True},
            "dashboards": {"enabled": True},
        },
        "moreClusters": [{"name": "edge", "kubeconfig": "/etc/podpower/clusters/edge"}],
        "clustersSecret": "kubeconfigs",
    },
    "without guards": {"networkPolicies": {"enabled": False}, "webhook": {"enabled": False}},
    "password elsewhere": {"postgres": {"passwordSecret": "password"}},
    "data elsewhere": {"storage": {"existingClaim": "mine"}, "postgres": {"existingSecret": "history"}},
}  # fmt: skip


@cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def files(values: Mapping[str, Any] | None = None, **options: Any) -> dict[str, str]:
    """The rendered files by path."""
    return _files(json.dumps(values or {}), json.dumps({"name": NAME, "namespace": NAMESPACE, **options}))


@cache
def _files(values: str, options: str) -> dict[str, str]:
    return chart().render(json.loads(values), **json.loads(options))


def rendered(values: Mapping[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    """The rendered objects, in the order of their files."""
    return copy.deepcopy(_objects(json.dumps(values or {}), json.dumps(options)))


@cache
def _objects(values: str, options: str) -> list[dict[str, Any]]:
    texts = files(json.loads(values), **json.loads(options))
    loaded = (yaml.load_all(text, yaml.CSafeLoader) for path, text in sorted(texts.items()) if path.endswith(".yaml"))
    return [document for documents in loaded for document in documents if document]


def find(objects: list[dict[str, Any]], kind: str, suffix: str) -> dict[str, Any]:
    """The one object of a kind whose name ends with `suffix`."""
    [found] = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    return found


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template, by kind and name of its object."""
    for given in objects:
        name = f"{given['kind']}/{given['metadata']['name']}"
        if given["kind"] == "Pod":
            yield name, given
        elif given["kind"] == "CronJob":
            yield name, given["spec"]["jobTemplate"]["spec"]["template"]
        elif "template" in given.get("spec", {}):
            yield name, given["spec"]["template"]


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
