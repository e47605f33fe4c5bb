"""The values: each is described, has a schema that refuses typos, and is used by a template."""

import copy
import json
import re
import sys

import helm_python
import pytest
import yaml

from tests.helm.charts import CHART, MATRIX, SCALED, chart, files

sys.path.append(str(CHART.parents[1] / "scripts"))
import chart as reference

FILES = [*sorted((CHART / "templates").rglob("*.*")), CHART / "rules.yaml"]
TEMPLATES = "".join(path.read_text() for path in FILES)


def set_at(path, value):
    values = root = {}
    *groups, last = path.split(".")
    for name in groups:
        root[name] = root = {}
    root[last] = value
    return values


TYPOS = [
    ("profil", "scaled"), ("profile", "large"), ("image.registry", "r"), ("images.registy", "r"),
    ("images.serving.digest", "sha256:12"), ("cluster.Name", "x"), ("cluster.name", "Prod_1"),
    ("cluster.prometheus.URL", "http://p"), ("cluster.prometheus.url", "p:9090"), ("storage.size", "20 GB"),
    ("storage.url", "file:///data"), ("storage.keep", "yes"), ("postgres.existingsecret", "s"),
    ("serving.replica", 3), ("serving.replicas", "three"), ("serving.autoscaling.min", 2),
    ("serving.resources.limit", {}), ("serving.corsOrigin", []), ("dagster.maxConcurrentRuns", 0),
    ("platform.store.resource", {}), ("settings.PODPOWER_WINDOW_DAYS", 14),
    ("cluster.prometheus.secretKeys", ["tokens"]), ("moreClusters", [{"name": "edge"}]),
    ("moreClusters", [{"name": "edge", "in_cluster": False}]), ("moreClusters", [{"name": "edge", "kubeconfig": ""}]),
    ("moreClusters", [{"name": "Edge", "kubeconfig": "/edge"}]),
    ("moreClusters", [{"name": "edge", "kubeConfig": "/edge"}]),
    ("moreClusters", [{"name": "edge", "kubeconfig": "/edge", "prometheus": {"uri": "http://p"}}]),
    ("moreClusters", [{"name": "edge", "kubeconfig": "/edge", "prometheus": {"url": "http://me:secret@p"}}]),
    ("storage.size", "10"), ("storage.size", 10), ("storage.size", "10m"), ("postgres.size", "5"),
    ("serving.resources", {"limits": {"memory": "512"}}), ("serving.resources", {"limits": {"memory": "512m"}}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), TYPOS, ids=[f"{path}={value}" for path, value in TYPOS])
def test_the_schema_refuses_a_typo(path, value):
    with pytest.raises(helm_python.HelmValuesError):
        chart().validate_schema(set_at(path, value))


RIGHT = [
    ("storage.size", "10Gi"), ("storage.size", 10_737_418_240), ("storage.size", "10737418240"),
    ("serving.resources", {"requests": {"cpu": 2, "memory": "0.5Gi"}}),
    ("moreClusters", [{"name": "edge", "recording": "/data/edge"}]),
    ("moreClusters", [{"name": "edge", "context": "edge", "prometheus": {"url": "http://p", "match": ["a=\"b\""]}}]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=[f"{path}={value}" for path, value in RIGHT])
def test_the_schema_accepts_what_is_right(path, value):
    chart().validate_schema(set_at(path, value))


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_the_schema_accepts_the_matrix(values):
    chart().validate_schema(copy.deepcopy(values))


def test_the_schema_and_the_page_are_made_of_the_values():
    assert (CHART / "values.schema.json").read_text() == reference.schema()
    assert (
        len(json.loads(reference.schema())["properties"])
        == len(yaml.safe_load((CHART / "values.yaml").read_text())) + 1
    )
    page = (CHART.parents[1] / "docs" / "reference" / "values.md").read_text()
    assert {f"`{'.'.join(v.path)}`" for v in reference.values() if not v.is_group} == set(
        re.findall(r"^\| (`[\w.]+`) \|", page, flags=re.MULTILINE)
    )


def test_a_value_without_a_comment_is_refused():
    with pytest.raises(ValueError, match=r"a\.b has no comment"):
        reference.values("# Group.\na:\n  b: 1\n")


def used():
    """Paths after `.Values`, with those of a variable that holds a group in the same file."""
    found = set(re.findall(r"\.Values\.([\w.]+)", TEMPLATES))
    for path in FILES:
        text = path.read_text()
        for variable, group in re.findall(r"\{\{-? (\$\w+) := \$?\w*\.Values\.([\w.]+) -?\}\}", text):
            found |= {f"{group}.{name}" for name in re.findall(rf"\{variable}\.([\w.]+)", text)}
    return {path.rstrip(".") for path in found}


ENABLED = {"enabled": True}
# Values beside which others count, by the start of their paths.
BESIDE = [
    (
        "cluster.prometheus.",
        {"cluster": {"prometheus": {"url": "http://p:9090", "existingSecret": "p", "secretKeys": ["ca.crt"]}}},
    ),
    ("cluster.prometheus.existingSecret", {"cluster": {"prometheus": {"secretKeys": ["token"]}}}),
    ("cluster.prometheus.username", {"cluster": {"prometheus": {"secretKeys": ["password"], "username": "user"}}}),
    ("collector.", SCALED),
    ("runs.", SCALED),
    ("prescore.", SCALED),
    ("serving.replicas", {"serving": {"autoscaling": {"enabled": False}}}),
    ("ingress.", {"ingress": {**ENABLED, "host": "watts.test"}}),
    ("monitoring.", {"monitoring": {"serviceMonitor": ENABLED, "rules": ENABLED}}),
]
# Another value where that of a type would be refused.
CHANGED = {
    "profile": "scaled", "listenAddress": "::", "budgets": {"shop": 5}, "images.pullPolicy": "Always",
    "cluster.kinds": ["ray.io/v1/rayclusters"],
    "cluster.prometheus.url": "http://other:9090", "cluster.prometheus.secretKeys": ["token"],
    "storage.url": "s3://bucket/podpower", "webhook.certificates": "cert-manager",
    "monitoring.serviceMonitor.interval": "7s", "moreClusters": [{"name": "edge", "kubeconfig": "/edge"}],
    "webhook.namespaceSelector": [{"key": "a", "operator": "Exists"}],
}  # fmt: skip
SHAPES = {
    "quantity": "7Gi", "size": "7Gi", "labels": {"changed": "yes"}, "digest": "sha256:" + "a" * 64,
    "resources": {"limits": {"memory": "7Gi"}}, "tolerations": [{"key": "changed", "operator": "Exists"}],
}  # fmt: skip
TYPES = {bool: lambda old: not old, int: lambda old: old + 1, float: lambda old: old / 2, str: lambda _: "changed",
         list: lambda _: ["changed"], dict: lambda _: {"changed": "yes"}}  # fmt: skip


def another(value, beside):
    """A value of the same shape as the default, other than the one in `beside`."""
    path, shape = ".".join(value.path), value.added.get("$ref", "").rpartition("/")[2]
    if path in CHANGED:
        return CHANGED[path]
    if value.added.get("items", {}).get("type") == "object":
        return [{"changed": {}}]
    return SHAPES[shape] if shape else TYPES[type(value.default)](present(value, beside))


def present(value, beside):
    for name in value.path:
        beside = beside.get(name) if isinstance(beside, dict) else None
    return value.default if beside is None else beside


def merged(*all_values):
    result = {}
    for values in all_values:
        for key, value in values.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def constant(values):
    """The rendered files without the password, which is another one each time."""
    return {path: re.sub(r"\b[A-Za-z0-9]{32}\b", "PASSWORD", text) for path, text in files(values).items()}


LEAVES = {".".join(value.path): value for value in reference.values() if not value.is_group}


@pytest.mark.parametrize("path", LEAVES)
def test_another_value_renders_another_chart(path):
    beside = merged(*(values for start, values in BESIDE if path.startswith(start)))
    if path == "profile":
        beside = merged(SCALED, {"profile": "default"})
    changed = merged(beside, set_at(path, another(LEAVES[path], beside)))
    assert constant(changed) != constant(beside)


@pytest.mark.parametrize("path", sorted(used()))
def test_what_a_template_uses_is_a_value(path):
    assert path.split(".") in [list(value.path)[: path.count(".") + 1] for value in reference.values()]
