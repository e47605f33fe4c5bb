"""The life of a release, by Helm itself: installed, upgraded from the version before, rolled back and uninstalled.

It runs on the fake API server, which starts no pods, and on the real cluster of PODPOWER_TEST_CHART_KUBECONFIG where
that is set: there each step waits until everything is ready, and the tests of the chart run, too.
PODPOWER_TEST_CHART_VALUES is a file of values that the cluster needs (a registry, Prometheus),
PODPOWER_TEST_CHART_PREVIOUS the chart of the version before; without it that is this chart with a lower number.
"""

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.clusters.real import RealCluster
from tests.helm.charts import CHART, NAME, rendered

REAL = os.environ.get("PODPOWER_TEST_CHART_KUBECONFIG")
VALUES = os.environ.get("PODPOWER_TEST_CHART_VALUES")
PREVIOUS = os.environ.get("PODPOWER_TEST_CHART_PREVIOUS")
SECONDS = 900
CLUSTER_WIDE = ("Cluster", "Mutating")  # what names of kinds without a namespace begin with


@dataclass(frozen=True, kw_only=True)
class Site:
    helm: helm_python.Config
    cluster: RealCluster
    values: dict[str, Any]
    is_real: bool

    @property
    def options(self) -> dict[str, Any]:
        """How long Helm waits, and for what; the fake's pods are never ready."""
        return {"timeout": SECONDS, "wait": "watcher" if self.is_real else None}

    def at(self, path: str) -> dict[str, Any] | None:
        """The object of a path in the namespace."""
        root, _, name = path.rpartition(":")
        return self.cluster.read(f"{root}/namespaces/{self.cluster.namespace}/{name}")

    def password(self) -> bytes:
        secret = self.at("/api/v1:secrets/podpower-postgres")
        assert secret is not None
        return base64.b64decode(secret["data"]["password"])

    def workers(self) -> list[str]:
        """Arguments of the service about its workers."""
        given = self.at("/apis/apps/v1:deployments/podpower-serving")
        assert given is not None
        [container] = given["spec"]["template"]["spec"]["containers"]
        return [word for word in container["args"] if "workers" in word]


@pytest.fixture(params=["fake", *(["real"] if REAL else [])])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "real":
        values = yaml.safe_load(Path(VALUES).read_text()) if VALUES else {}
        with RealCluster(Path(str(REAL))) as cluster:
            helm = helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=cluster.namespace)
            yield Site(helm=helm, cluster=cluster, values=values, is_real=True)
        return
    with FakeCluster() as fake:
        for api, kind in sorted({(each["apiVersion"], each["kind"]) for each in rendered()}):
            group, _, version = api.rpartition("/")
            fake.register(group, version, plural(kind), kind, not kind.startswith(CLUSTER_WIDE))
        with RealCluster(write_kubeconfig(tmp_path / "config", fake.url)) as cluster:
            # The fake reads no protobuf, in which Helm would store releases as Secrets.
            options = {"kubeconfig_path": cluster.kubeconfig, "storage_driver": "memory"}
            helm = helm_python.Config(namespace=cluster.namespace, **options)
            yield Site(helm=helm, cluster=cluster, values={}, is_real=False)


def plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    if PREVIOUS:
        return Path(PREVIOUS)
    chart = Path(helm_python.Chart.load(CHART).save_dir(tmp_path / "previous"))
    about = chart / "Chart.yaml"
    about.write_text(yaml.safe_dump({**yaml.safe_load(about.read_text()), "version": "0.0.1"}))
    return chart


def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(site: Site, previous: Path) -> None:
    helm = site.helm
    installed = helm.install(previous, NAME, site.values, namespace=site.cluster.namespace, **site.options)
    assert installed["status"] == "deployed"
    password = site.password()
    assert site.workers() == []

    upgraded = helm.upgrade(CHART, NAME, changed(site.values), namespace=site.cluster.namespace, **site.options)
    assert (upgraded["revision"], upgraded["status"]) == (2, "deployed")
    assert site.workers() == ["--workers"]
    assert site.password() == password, "PostgreSQL would refuse its own platform"
    if site.is_real:
        helm.test(NAME, timeout=SECONDS)

    helm.rollback(NAME, version=1, **site.options)
    assert site.workers() == []
    assert site.password() == password

    helm.uninstall(NAME, **site.options)
    assert site.at("/apis/apps/v1:deployments/podpower-platform") is None
    assert site.at("/apis/apps/v1:statefulsets/podpower-postgres") is None
    webhook = f"podpower-{site.cluster.namespace}"
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{webhook}"
    assert site.cluster.read(path) is None, "a webhook without a service is in the way of every object"
    # What the guide says remains: what was learned, and the password of the database that has it.
    assert site.at("/api/v1:persistentvolumeclaims/podpower-data")
    assert site.password() == password


def changed(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "serving": {**values.get("serving", {}), "workers": 2}}
