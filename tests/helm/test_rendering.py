"""The chart over a matrix of values: Helm lints and renders it, and Kubernetes would accept what comes out."""

import json
import re
from functools import cache

import helm_python
import kubernetes_validate
import pytest
import yaml

from podpower.clusters import configured_clusters
from podpower.settings import Settings
from tests.helm.charts import CHART, MATRIX, NAMESPACE, SCALED, chart, containers, files, find, pods, rendered
from tests.helm.pod_security import violations

# The last four versions of Kubernetes.
VERSIONS = ["1.34", "1.35", "1.36", "1.37"]
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "Certificate", "Issuer"}
every_matrix = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)


@every_matrix
def test_helm_lints_it_strictly_without_a_warning(values):
    report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def every_object():
    """The different objects of the whole matrix."""
    found = {json.dumps(given, sort_keys=True): given for values in MATRIX.values() for given in rendered(values)}
    return [given for given in found.values() if given["kind"] not in CUSTOM]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_the_last_four_versions_of_kubernetes(version, monkeypatch):
    assert VERSIONS[-1] == kubernetes_validate.latest_version().rpartition(".")[0]
    # It reads the same files for each object.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    objects = every_object()
    assert len(objects) > 80
    for given in objects:
        kubernetes_validate.validate(given, version, strict=True)


def test_a_misspelt_field_is_not_valid():
    [given] = [given for given in rendered() if given["kind"] == "StatefulSet"]
    given["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(given, VERSIONS[-1], strict=True)


@every_matrix
def test_no_container_is_killed_while_it_starts_on_a_busy_node(values):
    for name, template in pods(rendered(values)):
        for container in template["spec"]["containers"]:
            alive, start = container.get("livenessProbe"), container.get("startupProbe", {})
            waited_s = start.get("periodSeconds", 0) * start.get("failureThreshold", 0)
            if alive:
                assert waited_s + alive.get("initialDelaySeconds", 0) >= 120, (name, container["name"])


@every_matrix
def test_every_pod_keeps_to_pod_security_restricted_and_cannot_write_its_root(values):
    found = list(pods(rendered(values)))
    assert found
    for name, template in found:
        assert (name, violations(template)) == (name, [])
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"], container["name"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", True),
        ("volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
        ("securityContext", {"runAsUser": 0}),
        ("containers.privileged", True),
        ("containers.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        ("containers.allowPrivilegeEscalation", True),
        ("containers.seccompProfile", {"type": "Unconfined"}),
    ],
)
def test_the_rules_of_pod_security_find_what_breaks_them(path, value):
    _, template = next(pods(rendered()))
    assert violations(template) == []
    field = path.rpartition(".")[2]
    if "." in path:
        template["spec"]["containers"][0]["securityContext"][field] = value
    else:
        template["spec"][field] = value
    assert violations(template)


@every_matrix
def test_every_object_has_a_name_a_namespace_and_the_labels_of_its_release(values):
    for given in rendered(values):
        metadata = given["metadata"]
        assert len(metadata["name"]) <= 63
        assert ("namespace" in metadata) == (given["kind"] not in CLUSTER_WIDE), metadata["name"]
        assert metadata["labels"]["app.kubernetes.io/instance"] == "podpower"
        assert metadata["labels"].items() >= values.get("commonLabels", {}).items()


def test_two_releases_share_no_name():
    one = {(o["kind"], o["metadata"]["name"]) for o in rendered(name="power-a")}
    two = {(o["kind"], o["metadata"]["name"]) for o in rendered(name="power-b")}
    assert not one & two


def test_the_longest_release_name_makes_no_name_too_long():
    for given in rendered(name="r" * 53):
        assert len(given["metadata"]["name"]) <= 63


def test_a_registry_holds_podpowers_images_and_postgresql_has_a_repository_of_its_own():
    """The guide pushes two images: whatever else is asked for from that registry is not there."""
    images = {c["image"] for _, pod in pods(rendered({"images": {"registry": "r.test"}})) for c in containers(pod)}
    assert images == {"r.test/podpower-platform:0.1.0", "r.test/podpower-serving:0.1.0", "postgres:17"}
    mirrored = {"images": {"registry": "r.test", "postgres": {"repository": "mirror.test/postgres"}}}
    assert "mirror.test/postgres:17" in {c["image"] for _, pod in pods(rendered(mirrored)) for c in containers(pod)}


def test_the_defaults_need_no_custom_resource_and_name_no_registry():
    objects = rendered()
    groups = {given["apiVersion"].rpartition("/")[0] for given in objects}
    assert all(not group or "." not in group or group.endswith(".k8s.io") for group in groups), groups
    images = {container["image"] for _, template in pods(objects) for container in containers(template)}
    assert images
    assert all(re.fullmatch(r"[a-z0-9-]+:[\w.-]+", image) for image in images), images
    text = "".join(path.read_text() for path in CHART.rglob("*") if path.is_file())
    assert not re.findall(r"docker\.io|ghcr\.io|quay\.io|gcr\.io|registry\.k8s\.io", text)


@every_matrix
def test_what_a_pod_refers_to_is_in_the_chart_or_is_the_users(values):
    objects = rendered(values)
    made = {(o["kind"], o["metadata"]["name"]) for o in objects}
    users = {
        "cloud",
        "history",
        "keys",
        "kubeconfigs",
        "mine",
        "password",
        "prometheus",
        "store",
        "kube-root-ca.crt",
        "podpower-webhook",
    }

    def check(kind, name):
        assert (kind, name) in made or name in users, f"{kind}/{name}"

    for _, template in pods(objects):
        check("ServiceAccount", template["spec"]["serviceAccountName"])
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume:
                check("ConfigMap", volume["configMap"]["name"])
            if "secret" in volume and not volume["secret"].get("optional"):
                check("Secret", volume["secret"]["secretName"])
            if "persistentVolumeClaim" in volume:
                check("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        for container in containers(template):
            for source in container.get("envFrom", []):
                for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                    if key in source:
                        check(kind, source[key]["name"])
            for variable in container.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    check("Secret", variable["valueFrom"]["secretKeyRef"]["name"])
            claims = {"data"} if "PGDATA" in {v["name"] for v in container.get("env", [])} else set()
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes | claims
            names = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
            assert len(names) == len(container.get("volumeMounts", []))


@every_matrix
def test_every_service_selects_pods_that_have_its_port(values):
    objects = rendered(values)
    templates = dict(pods(objects))
    for service in (o for o in objects if o["kind"] == "Service"):
        chosen = [
            t for t in templates.values() if service["spec"]["selector"].items() <= t["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, service["metadata"]["name"]
        ports = {port["name"] for container in containers(chosen[0]) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@every_matrix
def test_podpower_reads_the_file_of_clusters(values, tmp_path):
    content = find(rendered(values), "ConfigMap", "-clusters")["data"]["clusters.yaml"]
    (tmp_path / "clusters.yaml").write_text(content)
    clusters = configured_clusters(
        Settings({"PODPOWER_CLUSTERS": str(tmp_path / "clusters.yaml"), "PODPOWER_HOME": "/data"})
    )
    given = values.get("cluster", {})
    assert clusters[0].name == given.get("name", "main")
    assert clusters[0].has_meter == bool(given.get("prometheus"))
    assert [cluster.name for cluster in clusters[1:]] == [c["name"] for c in values.get("moreClusters", [])]
    watched = {
        (argument.partition("=")[2], journal.partition("=")[2])
        for _, template in pods(rendered(values))
        for container in containers(template)
        if container.get("command", [])[:2] == ["podpower", "collect"]
        for argument, journal in [container["args"][:2]]
    }
    home = values.get("storage", {}).get("url", "/data")
    expected = {(cluster.name, cluster.place.replace("/data", home)) for cluster in clusters}
    assert watched == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"profile": "scaled"}, "storage.url"),
        ({"profile": "scaled", "storage": {"url": "s3://bucket"}}, "postgres.existingSecret"),
        ({"storage": {"url": "s3://b/x", "existingClaim": "mine"}}, "not both"),
        ({"postgres": {"existingSecret": "a", "passwordSecret": "b"}}, "not both"),
        ({"cluster": {"prometheus": {"secretKeys": ["token"]}}}, "existingSecret"),
        ({"cluster": {"prometheus": {"existingSecret": "p", "secretKeys": ["password"]}}}, "username"),
        ({"moreClusters": [{"name": "edge", "kubeconfig": "/etc/podpower/clusters/edge"}]}, "clustersSecret"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_value_to_give(values, message):
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        files(values)


def test_the_notes_name_the_next_step():
    notes = next(text for path, text in files().items() if path.endswith("NOTES.txt"))
    assert f"kubectl -n {NAMESPACE} rollout status deployment/podpower-platform" in notes
    assert "cluster.prometheus.url" in notes
    assert "cluster.prometheus.url" not in next(
        text for path, text in files(MATRIX["measured"]).items() if path.endswith("NOTES.txt")
    )


def test_the_notes_name_the_key_that_a_service_asks_for_and_its_host():
    values = {
        "serving": {"apiKeysSecret": "keys"},
        "ingress": {"enabled": True, "host": "watts.test", "tlsSecret": "t"},
    }
    notes = next(text for path, text in files(values).items() if path.endswith("NOTES.txt"))
    assert "-H 'Authorization: Bearer KEY'" in notes
    assert "https://watts.test/predict/from-yaml" in notes
    assert "--reuse-values" not in notes  # a later chart has values that these lack
    assert "helm test podpower -n power" in notes


def test_a_password_of_yours_is_that_of_every_rendering():
    """`helm template` sees no cluster: a password of the chart would be another one each time."""
    values = {"postgres": {"passwordSecret": "password"}}
    objects = rendered(values)
    assert [o["metadata"]["name"] for o in objects if o["kind"] == "Secret"] == ["podpower-webhook"]
    [server] = find(objects, "StatefulSet", "-postgres")["spec"]["template"]["spec"]["containers"]
    names = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in server["env"] if "valueFrom" in v}
    assert names == {"POSTGRES_PASSWORD": {"name": "password", "key": "password"}}
    [daemon] = [c for _, pod in pods(objects) for c in containers(pod) if c["name"] == "daemon"]
    assert daemon["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "password", "key": "url"}
    first, second = (chart().render(values, name="podpower", namespace="power") for _ in range(2))
    assert first == second


def test_the_version_of_the_application_is_that_of_the_package():
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'version = "{chart().metadata["appVersion"]}"' in project


def test_the_settings_of_dagster_are_those_of_podpower_up():
    ours = yaml.safe_load((CHART.parents[1] / "dagster.yaml").read_text())
    instance = find(rendered(), "ConfigMap", "-dagster")["data"]
    chosen = yaml.safe_load(instance["dagster.yaml"])
    assert {key: chosen[key] for key in ours} == ours
    assert set(chosen) - set(ours) == {"storage", "local_artifact_storage", "compute_logs"}


def test_the_scaled_profile_writes_nothing_to_a_volume():
    assert [o for o in rendered(SCALED) if o["kind"] in {"PersistentVolumeClaim", "StatefulSet"}] == []
