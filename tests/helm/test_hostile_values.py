"""Names that YAML reads as numbers, times or booleans, and numbers that Go prints with an exponent."""

from functools import cache

import kubernetes_validate
import pytest
import yaml

from tests.helm.charts import MATRIX, SCALED, containers, find, pods, rendered
from tests.helm.test_rendering import CUSTOM, VERSIONS

DIGITS = {
    "images": {"pullSecrets": ["1"]},
    "cluster": {"name": "1", "prometheus": {"url": "http://p:9090", "existingSecret": "2", "secretKeys": ["token"]}},
    "clustersSecret": "3",
    "moreClusters": [{"name": "4", "kubeconfig": "/etc/podpower/clusters/4"}],
    "settingsSecrets": ["5"],
    "platform": {"priorityClassName": "6", "store": {"apiKeySecret": "7"}},
    "serving": {"priorityClassName": "on", "apiKeysSecret": "8", "corsOrigins": ["http://a.test: b"]},
    "ingress": {"enabled": True, "className": "9", "host": "10", "tlsSecret": "11"},
    "webhook": {"denyNamespaces": ["12"]},
}
DEFAULT = {**DIGITS, "storage": {"storageClass": "13"}, "postgres": {"storageClass": "null"}}
IN_PODS = {**DIGITS, **SCALED, "postgres": {"existingSecret": "14"}, "storage": {"url": "s3://bucket/a: b #c"}}


@pytest.mark.parametrize("values", [DEFAULT, IN_PODS], ids=["default", "scaled"])
def test_names_that_look_like_numbers_stay_names(values, monkeypatch):
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    objects = rendered(values, name="2024", namespace="01-01")
    for given in [*objects, *rendered(values, name="on", namespace="1e3")]:
        if given["kind"] not in CUSTOM:
            kubernetes_validate.validate(given, VERSIONS[-1], strict=True)
    [own, other] = yaml.safe_load(find(objects, "ConfigMap", "-clusters")["data"]["clusters.yaml"])["clusters"]
    assert (own["name"], other["name"]) == ("1", "4")
    if values is IN_PODS:
        instance = yaml.safe_load(find(objects, "ConfigMap", "-dagster")["data"]["dagster.yaml"])
        launcher = instance["run_launcher"]["config"]
        assert launcher["image_pull_secrets"] == [{"name": "1"}]
        assert launcher["run_k8s_config"]["container_config"]["envFrom"][1] == {"secretRef": {"name": "5"}}
        assert (
            yaml.safe_load(find(rendered(values, namespace="1e3"), "ConfigMap", "-dagster")["data"]["dagster.yaml"])[
                "run_launcher"
            ]["config"]["job_namespace"]
            == "1e3"
        )


def test_large_numbers_are_no_floats():
    values = {**SCALED, "dagster": {"maxRuntimeSeconds": 2_000_000, "startTimeoutSeconds": 1_000_000},
              "runs": {"keepFinishedSeconds": 3_000_000}}  # fmt: skip
    instance = yaml.safe_load(find(rendered(values), "ConfigMap", "-dagster")["data"]["dagster.yaml"])
    monitoring = instance["run_monitoring"]
    assert (monitoring["max_runtime_seconds"], monitoring["start_timeout_seconds"]) == (2_000_000, 1_000_000)
    job = instance["run_launcher"]["config"]["run_k8s_config"]["job_spec_config"]
    assert job["ttlSecondsAfterFinished"] == 3_000_000
    assert [type(value) for value in (*monitoring.values(), *job.values())].count(float) == 0


def test_an_account_is_found_whatever_the_release_is_called():
    objects = rendered({"images": {"pullSecrets": ["pull-10001"]}}, name="r10001")
    accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
    for _, template in pods(objects):
        assert template["spec"]["serviceAccountName"] in accounts
        assert template["spec"]["imagePullSecrets"] == [{"name": "pull-10001"}]


@pytest.mark.parametrize("kind", ["serviceMonitor", "rules", "dashboards"])
def test_monitors_need_no_labels_of_yours(kind):
    labels = {"labels": {"grafana_dashboard": None}} if kind == "dashboards" else {}
    for given in rendered({"monitoring": {kind: {"enabled": True, **labels}}}):
        assert given["metadata"]["labels"]["app.kubernetes.io/instance"] == "podpower"


@pytest.mark.parametrize("values", [{}, SCALED, MATRIX["several clusters"]], ids=["default", "scaled", "clusters"])
def test_a_cluster_that_assigns_users_itself_can_do_so(values):
    """OpenShift refuses pods that name a user outside of the range of their namespace."""
    objects = rendered({**values, "users": {"podpower": 0, "postgres": 0}})
    contexts = [template["spec"]["securityContext"] for _, template in pods(objects)]
    contexts += [c["securityContext"] for _, template in pods(objects) for c in containers(template)]
    if values is SCALED:
        instance = yaml.safe_load(find(objects, "ConfigMap", "-dagster")["data"]["dagster.yaml"])
        contexts.append(instance["run_launcher"]["config"]["run_k8s_config"]["pod_spec_config"]["securityContext"])
    assert contexts
    for context in contexts:
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
    other = rendered({"users": {"podpower": 1_000_660_000, "postgres": 70}})
    found = {name: t["spec"]["securityContext"] for name, t in pods(other)}
    assert found["StatefulSet/podpower-postgres"]["runAsUser"] == 70
    assert found["Deployment/podpower-platform"]["fsGroup"] == 1_000_660_000
