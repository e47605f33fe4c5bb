"""A cluster that is changed through its API alone, in a namespace of its own: any real one, or the fake."""

import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from podpower.kubernetes.kinds import KINDS
from podpower.sources.kubernetes.access import ClusterConfig, open_access

Object = dict[str, Any]


class RealCluster:
    """`with RealCluster(kubeconfig) as cluster:` makes a namespace, and deletes it with all that is in it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = f"podpower-test-{uuid.uuid4().hex[:8]}"
        access = open_access(ClusterConfig(kubeconfig=str(kubeconfig)))
        self._client = httpx.Client(
            base_url=access.server, verify=access.ssl_context, headers=access.authorization(), timeout=30
        )

    def __enter__(self) -> "RealCluster":
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self._client.post("/api/v1/namespaces", json=namespace).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.delete(f"/api/v1/namespaces/{self.namespace}").raise_for_status()
        self._client.close()

    def add(self, obj: Object) -> Object:
        return self._sent("POST", self._path(obj), obj)

    def update(self, obj: Object) -> Object:
        return self._sent("PUT", f"{self._path(obj)}/{obj['metadata']['name']}", obj)

    def delete(self, obj: Object) -> None:
        path = f"{self._path(obj)}/{obj['metadata']['name']}"
        self._client.delete(path, params={"propagationPolicy": "Background"}).raise_for_status()
        deadline = time.monotonic() + 60
        while self._client.get(path).status_code != 404 and time.monotonic() < deadline:
            time.sleep(0.2)

    def read(self, path: str) -> Object | None:
        """The answer at a path of the API; None where nothing is there."""
        response = self._client.get(path)
        if response.status_code == 404:
            return None
        found: Object = response.raise_for_status().json()
        return found

    def _path(self, obj: Object) -> str:
        return KINDS[obj["kind"]].path(self.namespace)

    def _sent(self, method: str, path: str, obj: Object) -> Object:
        whole = {**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}}
        response = self._client.request(method, path, json=whole)
        response.raise_for_status()
        answer: Object = response.json()
        return answer
