"""Small Kubernetes objects and kubeconfigs for tests."""

import os
import stat
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


def deployment(
    name: str, *, image: str = "nginx:1.27", namespace: str = "shop", replicas: int = 1, **env: str
) -> Object:
    labels = {"app": name}
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": "100m"}}}
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def owned(kind: str, name: str, owner: Object, *, labels: dict[str, str] | None = None, **body: Any) -> Object:
    """An object that `owner` (as stored) controls."""
    api = {"Pod": "v1", "Job": "batch/v1"}.get(kind, "apps/v1")
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
    reference |= {"uid": owner["metadata"]["uid"], "controller": True}
    metadata = {"name": name, "namespace": owner["metadata"]["namespace"], "ownerReferences": [reference]}
    return {"apiVersion": api, "kind": kind, "metadata": {**metadata, "labels": labels or {}}, **body}


def running_pod(name: str, owner: Object, template: Object, *, labels: dict[str, str] | None = None) -> Object:
    """A pod of the template with what admission adds to it."""
    spec = {**template["spec"], "nodeName": "node-1", "volumes": [{"name": "kube-api-access-x2x4b", "projected": {}}]}
    return owned("Pod", name, owner, labels=labels, spec=spec, status={"phase": "Running"})


def write_kubeconfig(
    path: Path, url: str, *, user: Object | None = None, cluster: Object | None = None, current: str | None = "test"
) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": [{"name": "test", "context": {"cluster": "test-cluster", "user": "tester"}}],
        "clusters": [{"name": "test-cluster", "cluster": {"server": url, **(cluster or {})}}],
        "users": [{"name": "tester", "user": user or {"token": "t0ken"}}],
    }
    if current:
        config["current-context"] = current
    path.write_text(yaml.safe_dump(config))
    return path


def write_plugin(path: Path, token_file: Path) -> Object:
    """A credential plugin that gives what is in `token_file`, and counts how often in `token_file`.calls; the user of a
    kubeconfig that runs it.
    """
    path.write_text(
        f"#!/bin/sh\necho call >> {token_file}.calls\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        f'"status":{{"token":"%s"}}}}\' "$(cat {token_file})"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": os.fspath(path),
            "interactiveMode": "Never",
        }
    }
