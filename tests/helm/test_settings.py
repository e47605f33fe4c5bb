"""What `settings` reach, and what is refused there; where pods are placed."""

import re

import helm_python
import pytest

from podpower.fleet.budgets import read_budgets
from tests.helm.charts import MATRIX, SCALED, containers, files, find, pods, rendered

PLACE = {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "dedicated", "operator": "Exists"}],
         "priorityClassName": "high"}  # fmt: skip


def environment(objects, container):
    """What a container has in its environment, ConfigMaps included."""
    found = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    names = [variable["name"] for variable in container.get("env", [])]
    assert len(names) == len(set(names)), container["name"]
    return found | {variable["name"]: variable.get("value") for variable in container.get("env", [])}


@pytest.mark.parametrize("values", [{}, SCALED, MATRIX["placed and labelled"]], ids=["default", "scaled", "placed"])
def test_a_setting_reaches_every_process_of_podpower(values):
    given = {"PODPOWER_MAX_CONNECTIONS": "50", "PODPOWER_LOG_FORMAT": "text", "NO_COLOR": ""}
    objects = rendered({**values, "settings": given})
    seen = set()
    for _, template in pods(objects):
        for container in containers(template):
            if container["name"] not in {"postgres", "first-certificate", "certificates", "predict"}:
                assert environment(objects, container).items() >= given.items(), container["name"]
                seen.add(container["name"])
    assert seen >= {"serving", "webhook", "store", "collector", "code-location"}


def test_a_service_logs_lines_of_json_by_default():
    objects = rendered()
    [container] = find(objects, "Deployment", "-serving")["spec"]["template"]["spec"]["containers"]
    assert environment(objects, container)["PODPOWER_LOG_FORMAT"] == "json"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PODPOWER_HOME": "/other"}, "settings.PODPOWER_HOME: set storage.url instead"),
        ({"PODPOWER_DOCS": "off"}, "settings.PODPOWER_DOCS: set serving.docs instead"),
        ({"PODPOWER_CLUSTER": "x"}, "settings.PODPOWER_CLUSTER: set cluster.name instead"),
        ({"DAGSTER_HOME": "/x"}, "settings.DAGSTER_HOME: the chart sets it"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "settings.AWS_SECRET_ACCESS_KEY: put it into a Secret"),
        ({"PODPOWER_PROMETHEUS_PASSWORD": "x"}, "settings.PODPOWER_PROMETHEUS_PASSWORD: put it into a Secret"),
        ({"PODPOWER_ALERT_WEBHOOK": "https://hooks.test/x"}, "settings.PODPOWER_ALERT_WEBHOOK: put it into a Secret"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "x"}, "put it into a Secret"),
        ({"a b\n  X": "x"}, "invalid propertyName"),
    ],
)
def test_settings_that_the_chart_makes_and_secrets_are_refused(settings, message):
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        files({"settings": settings})


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "PODPOWER_KEEP_MODELS"])
def test_what_is_no_secret_is_a_setting(name):
    files({"settings": {name: "x"}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"serving": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}}, "serving.autoscaling.maxReplicas"),
        ({"cluster": {"prometheus": {"url": "http://p", "existingSecret": "p"}}}, "cluster.prometheus.secretKeys"),
        ({"cluster": {"prometheus": {"url": "http://p", "username": "u"}}}, "password"),
        ({"cluster": {"prometheus": {"existingSecret": "p", "secretKeys": ["token"]}}}, "cluster.prometheus.url"),
        ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, "commonLabels"),
        ({"nameOverride": "Über"}, "nameOverride"),
        ({"fullnameOverride": "a b"}, "fullnameOverride"),
        ({"images": {"registry": "https://r.test"}}, "registry"),
    ],
)
def test_values_that_would_do_nothing_or_harm_are_refused(values, message):
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        files(values)


def test_every_pod_can_be_placed():
    """On a cluster whose nodes all have a taint, a pod without a toleration stays pending."""
    placed = dict.fromkeys(("platform", "serving", "postgres", "collector", "prescore"), PLACE)
    for profile in ({}, SCALED):
        values = {key: {**profile.get(key, {}), **placed.get(key, {})} if isinstance(profile.get(key, {}), dict)
                  else profile[key] for key in {*profile, *placed}}  # fmt: skip
        for name, template in pods(rendered(values)):
            assert template["spec"].items() >= PLACE.items(), name


def test_a_key_that_the_service_asks_for_is_asked_for_by_every_pod_that_predicts():
    """The webhook's pod answers more than /admission, to everybody who reaches it."""
    objects = rendered({"serving": {"apiKeysSecret": "keys"}})
    for name in ("serving", "webhook"):
        spec = find(objects, "Deployment", f"-{name}")["spec"]["template"]["spec"]
        container = spec["containers"][0]
        path = environment(objects, container)["PODPOWER_API_KEYS_FILE"]
        [mount] = [m for m in container["volumeMounts"] if path.startswith(f"{m['mountPath']}/")]
        assert {"name": mount["name"], "secret": {"secretName": "keys"}} in spec["volumes"]
        assert mount["readOnly"] is True


def test_prometheus_sends_the_keys_that_the_services_ask_for():
    values = {
        "monitoring": {"serviceMonitor": {"enabled": True, "apiKeySecret": "mine"}},
        "serving": {"apiKeysSecret": "keys"},
        "platform": {"store": {"apiKeySecret": "store"}},
    }
    objects = rendered(values)
    for name, expected in (("serving", "mine"), ("store", "store")):
        [endpoint] = find(objects, "ServiceMonitor", f"-{name}")["spec"]["endpoints"]
        assert endpoint["authorization"] == {"credentials": {"name": expected, "key": "key"}}
    for monitor in (o for o in rendered({"monitoring": {"serviceMonitor": {"enabled": True}}})
                    if o["kind"] == "ServiceMonitor"):  # fmt: skip
        assert "authorization" not in monitor["spec"]["endpoints"][0]
    values["monitoring"]["serviceMonitor"].pop("apiKeySecret")
    with pytest.raises(helm_python.HelmError, match=r"monitoring\.serviceMonitor\.apiKeySecret"):
        files(values)


def test_budgets_reach_what_sums_up_and_what_admits(tmp_path):
    objects = rendered({"budgets": {"shop": 500, "edge/shop": 250.5}})
    text = find(objects, "ConfigMap", "-clusters")["data"]["budgets.yaml"]
    (tmp_path / "budgets.yaml").write_text(text)
    assert read_budgets(tmp_path / "budgets.yaml").of_file == {"shop": 500, "edge/shop": 250.5}
    for deployment, name in (("platform", "code-location"), ("webhook", "webhook")):
        spec = find(objects, "Deployment", f"-{deployment}")["spec"]["template"]["spec"]
        [container] = [c for c in spec["containers"] if c["name"] == name]
        path = environment(objects, container)["PODPOWER_BUDGETS"]
        [mount] = [m for m in container["volumeMounts"] if path.startswith(f"{m['mountPath']}/")]
        [volume] = [v for v in spec["volumes"] if v["name"] == mount["name"]]
        assert volume["configMap"]["name"] == "podpower-clusters"
        assert path.endswith("/budgets.yaml")
    assert "budgets.yaml" not in find(rendered(), "ConfigMap", "-clusters")["data"]
