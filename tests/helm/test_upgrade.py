"""What Kubernetes lets nobody change is as in the first chart: else `helm upgrade` of an installation is refused."""

import pytest

from tests.helm.charts import MATRIX, SCALED, find, rendered

IMMUTABLE = {"serviceName", "selector", "volumeClaimTemplates"}


def selector(component):
    return {
        "matchLabels": {
            "app.kubernetes.io/name": "podpower",
            "app.kubernetes.io/instance": "podpower",
            "app.kubernetes.io/component": component,
        }
    }


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_pods_are_selected_as_ever(values):
    prefix = values.get("fullnameOverride", "podpower")
    for given in rendered(values):
        if given["kind"] in {"Deployment", "StatefulSet"}:
            component = given["metadata"]["name"].removeprefix(f"{prefix}-")
            assert given["spec"]["selector"] == selector(component)


def test_claims_are_as_ever():
    objects = rendered()
    server = find(objects, "StatefulSet", "-postgres")["spec"]
    assert {name: server[name] for name in IMMUTABLE} == {
        "serviceName": "podpower-postgres",
        "selector": selector("postgres"),
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "data", "labels": selector("postgres")["matchLabels"]},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
            }
        ],
    }
    claim = find(objects, "PersistentVolumeClaim", "")
    assert claim["metadata"]["name"] == "podpower-data"
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}
    assert find(objects, "Secret", "-postgres")["type"] == find(objects, "Secret", "-webhook")["type"] == "Opaque"
    [headless] = [o for o in objects if o["kind"] == "Service" and "clusterIP" in o["spec"]]
    assert (headless["metadata"]["name"], headless["spec"]["clusterIP"]) == ("podpower-postgres", "None")


@pytest.mark.parametrize("values", [{}, SCALED], ids=["default", "scaled"])
def test_roles_are_bound_as_ever(values):
    for given in rendered(values):
        if given["kind"] in {"RoleBinding", "ClusterRoleBinding"}:
            assert given["roleRef"]["name"] == given["metadata"]["name"]
            assert given["roleRef"]["kind"] == given["kind"].removesuffix("Binding")
