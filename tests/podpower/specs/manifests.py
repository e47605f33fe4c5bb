"""Manifests to vary in tests."""

from typing import Any


def deployment(name: str = "web", *, image: str = "nginx:1.25", **container: Any) -> dict[str, Any]:
    """A Deployment as people write it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image, **container}]},
            },
        },
    }


def as_served(manifest: dict[str, Any]) -> dict[str, Any]:
    """The same Deployment as the API server gives it back: defaults filled in, metadata of its own, keys reordered."""
    template = manifest["spec"]["template"]
    containers = [
        {
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            **dict(reversed(container.items())),
        }
        for container in template["spec"]["containers"]
    ]
    spec = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **template["spec"],
        "containers": containers,
    }
    return {
        "kind": manifest["kind"],
        "apiVersion": manifest["apiVersion"],
        "metadata": {
            **manifest["metadata"],
            "uid": "0b9d",
            "resourceVersion": "8812",
            "generation": 4,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {
                "deployment.kubernetes.io/revision": "4",
                "kubectl.kubernetes.io/last-applied-configuration": '{"password": "hunter2"}',
            },
        },
        "spec": {
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate"},
            **manifest["spec"],
            "replicas": 7,
            "template": {
                "spec": spec,
                "metadata": {
                    "creationTimestamp": None,
                    "labels": {"app": "web", "pod-template-hash": "5ddcf9fd46"},
                    "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-02T00:00:00Z"},
                },
            },
        },
        "status": {"replicas": 7},
    }
