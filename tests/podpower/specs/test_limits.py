"""Bounds of what one object can have: the error names the object or field, and the bound."""

import json
from typing import Any

import pytest

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_COUNT, MAX_CPU_MCPU, MAX_MEMORY_MIB, MAX_WORDS
from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import request_from_dict
from podpower.specs.selection import Workloads
from tests.podpower.specs.manifests import deployment

POD = {"containers": [{"name": "main", "image": "app:1"}]}


def read(*objects: Any) -> Workloads:
    return read_manifests("\n---\n".join(json.dumps(obj) for obj in objects).encode(), source="input")


def request(**fields: Any) -> dict[str, Any]:
    return {"workload_kind": "Pod", "workload_name": "w", "containers": [{"name": "a"}], **fields}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"containers": [{"req_cpu_mcpu": 1e308}]}, r"^containers\[0\].req_cpu_mcpu: must be at most 1000000000; got"),
        ({"containers": [{"req_mem_mib": 1e308}]}, r"^containers\[0\].req_mem_mib: must be at most 1000000000; got"),
        ({"pod_lim_mem_mib": MAX_MEMORY_MIB + 1}, "^pod_lim_mem_mib: must be at most 1000000000"),
        ({"replicas": MAX_COUNT + 1}, "^replicas: must be at most 1000000000; got 1000000001$"),
        ({"gpu_count": 10**7}, "^gpu_count: must be at most 1000000; got 10000000$"),
        ({"gpus": 1e9}, "^gpus: must be at most 1000000"),
        ({"containers": [{"args": ["a"] * (MAX_WORDS + 1)}]}, r"^containers\[0\].args: longer than 4096 entries$"),
        ({"containers": [{"name": "a"}] * 257}, "^containers: longer than 256 entries$"),
        ({"annotations": {str(i): "" for i in range(4097)}}, "^annotations: longer than 4096 entries$"),
        ({"annotations": {"a": "x" * 1_600_000}}, "^Pod w: more than 1572864 characters in one object"),
        ({"containers": [{"args": ["a"] * 4096}] * 5}, "^Pod w: more than 16384 words"),
    ],
)  # fmt: skip
def test_a_request_beyond_a_bound_is_an_error_that_names_field_and_bound(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        request_from_dict(request(**fields))


@pytest.mark.parametrize(
    ("resource", "value", "message"),
    [
        ("cpu", "9E", "cpu: \"9E\" is more than 1000000000 millicores, which no pod has"),
        ("cpu", 1e300, "cpu: \"1e+300\" is more than 1000000000 millicores"),
        ("memory", "9Ei", "memory: \"9Ei\" is more than 1000000000 MiB, which no pod has"),
        ("nvidia.com/gpu", "9E", "GPUs of container main: \"9E\" is more than 1000000 devices"),
        ("memory", "token=hunter2x", 'memory: "token=<redacted>" is not a quantity; write e.g. 500m, 1.5 or 512Mi'),
    ],
)  # fmt: skip
def test_an_impossible_amount_of_a_manifest_is_an_error(resource: str, value: Any, message: str) -> None:
    (error,) = read(deployment(resources={"requests": {resource: value}, "limits": {resource: value}})).errors
    assert message in error.detail
    assert error.detail.startswith("Deployment web: spec.template.spec")


def test_the_largest_amounts_are_read() -> None:
    limits = {"cpu": str(MAX_CPU_MCPU // 1000), "memory": f"{MAX_MEMORY_MIB}Mi"}
    found = read(deployment(resources={"requests": limits}))
    assert found.errors == []
    assert found.requests[0].containers[0].req_cpu_mcpu == MAX_CPU_MCPU


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": 10**5, "group": {"replicas": 10**5, "template": {"spec": POD}}},
        {"replicas": 10**10, "template": {"spec": POD}},
        {"replicas": 10**5, "group": {"minReplicas": 1, "maxReplicas": 10**5, "template": {"spec": POD}}},
    ],
)
def test_replica_counts_beyond_any_cluster_are_an_error_and_not_cut(spec: dict[str, Any]) -> None:
    found = read({"apiVersion": "a.example/v1", "kind": "Fleet", "metadata": {"name": "x"}, "spec": spec})
    assert not found.requests
    assert [error.detail.startswith("Fleet x: ") for error in found.errors] == [True]
    assert "1000000000" in found.errors[0].detail


@pytest.mark.parametrize("field", ["command", "args"])
def test_more_words_than_a_command_has_are_an_error_that_names_the_object(field: str) -> None:
    (error,) = read(deployment(**{field: ["--token=x"] * (MAX_WORDS + 1)})).errors
    assert error.detail == f"Deployment web: spec.template.spec.containers[0].{field}: longer than 4096 entries"


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [{"name": "A", "value": "x" * 1_600_000}]},
        {"args": ["x" * 800_000] * 2},
        {
            "livenessProbe": {"exec": {"command": ["x" * 800_000]}},
            "startupProbe": {"exec": {"command": ["x" * 800_000]}},
        },
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_more_characters_than_etcd_stores_are_an_error_that_names_the_object(fields: dict[str, Any]) -> None:
    (error,) = read(deployment(**fields)).errors
    assert error.detail.startswith("Deployment web: more than 1572864 characters in one object")


SECRET = "hunter2Hunter2"


@pytest.mark.parametrize(
    "obj",
    [
        {"kind": f"token={SECRET}", "metadata": {"name": "a"}},
        {"apiVersion": "apps/v1", "kind": f"token={SECRET}", "metadata": {"name": "a"}},
        {"apiVersion": f"token={SECRET}/v1", "kind": "Deployment", "metadata": {"name": "a"}},
        {"kind": "Service", "metadata": {"name": f"token={SECRET}"}},
        {"kind": "Deployment", "metadata": {"name": f"password={SECRET}"}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "a", "namespace": f"password={SECRET}"}, "spec": {}},
        deployment(resources={"requests": {"cpu": f"token={SECRET}"}}),
        deployment(resources={"limits": {"nvidia.com/gpu": f"token={SECRET}"}}),
        deployment(image=f"{{x}} token={SECRET}"),
        {"kind": "CronJob", "metadata": {"name": "a"}, "spec": {"schedule": f"token={SECRET}", "jobTemplate": {
            "spec": {"template": {"spec": POD}}}}},
        {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {
            "kind": "Deployment", "name": f"token={SECRET}"}}},
    ],
)  # fmt: skip
def test_errors_and_skipped_objects_quote_no_credential(obj: dict[str, Any]) -> None:
    obj = json.loads(json.dumps(obj).replace("{x}", "{{ x }}"))
    found = read(obj)
    assert found.errors or found.skipped
    assert SECRET not in str(found.errors) + str(found.skipped)


def test_messages_hold_no_control_characters_and_are_short() -> None:
    name = "a\x1b[2J\u202eb" + "x" * 5000
    found = read(
        {"kind": "Service", "metadata": {"name": name}}, {"kind": "Pod", "metadata": {"name": name}, "spec": 3}
    )
    assert len(found.skipped[0].name) == 253
    assert len(found.errors[0].detail) < 200
    assert "\x1b" not in found.skipped[0].name + found.errors[0].detail
    assert "\u202e" not in found.skipped[0].name + found.errors[0].detail


def test_each_bad_item_of_nested_lists_is_reported_once_and_the_others_are_predicted() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": POD}
    items = [{"kind": "Pod"}, 5, {"apiVersion": "v1", "kind": "Pdo", "metadata": {"name": "a"}}, pod]
    found = read(
        {"kind": "List", "items": [*items, {"kind": "List", "items": [7, {**pod, "metadata": {"name": "q"}}]}]}
    )
    assert [request.workload_name for request in found.requests] == ["p", "q"]
    assert [error.index for error in found.errors] == [0, 1, 2, 4]
    assert found.skipped == []


def test_a_list_whose_items_are_none_is_an_error() -> None:
    (error,) = read({"apiVersion": "v1", "kind": "List", "items": {"a": 1}}).errors
    assert "items: must be a list" in error.detail
