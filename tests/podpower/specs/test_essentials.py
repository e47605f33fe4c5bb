"""What is kept of an object: all that decides its request and hash, and nothing that could be a credential."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput
from podpower.kubernetes.owners import Objects
from podpower.simulation.cluster import Cluster
from podpower.specs.essentials import essential
from podpower.specs.hashing import spec_hash
from podpower.specs.normalising import NotAWorkload, request_from_object
from tests.podpower.specs.manifests import as_served, deployment

SECRET = "hunter2-9f8e7d6c5b4a39281706f5e4d3c2b1a0"


def rich() -> dict[str, Any]:
    """A Deployment with something of everything."""
    obj = as_served(deployment(image=f"user:{SECRET}@registry.example/team/web:1"))
    obj["metadata"]["managedFields"] = [{"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:x": {}}}]
    obj["status"] = {"readyReplicas": 3, "conditions": [{"message": SECRET}]}
    pod = obj["spec"]["template"]["spec"]
    pod["containers"][0] |= {
        "args": ["--password", SECRET, f"--dsn=postgres://u:{SECRET}@db/x", "--workers=4"],
        "env": [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "WORKERS", "value": "4"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}],
        "envFrom": [{"secretRef": {"name": "all"}}],
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": 1}},
        "livenessProbe": {"exec": {"command": ["check", "--token", SECRET]}, "periodSeconds": 3},
    }  # fmt: skip
    pod["initContainers"] = [{"name": "proxy", "image": "istio/proxyv2:1", "restartPolicy": "Always"}]
    pod["volumes"] = [
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "share", "csi": {"driver": "smb", "volumeAttributes": {"password": SECRET}}},
    ]
    terms = [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
    pod["affinity"] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        "podAntiAffinity": {"x": SECRET},
    }
    pod |= {"nodeSelector": {"disk": "ssd"}, "runtimeClassName": "kata", "overhead": {"cpu": "100m"}}
    return obj


def test_the_request_and_hash_are_those_of_the_whole_object() -> None:
    whole, kept = rich(), essential(rich())
    assert request_from_object(kept) == request_from_object(whole)
    assert spec_hash(request_from_object(kept)) == spec_hash(request_from_object(whole))


def test_no_credential_stays() -> None:
    assert SECRET in json.dumps(rich())
    assert SECRET not in json.dumps(essential(rich()))
    assert "managedFields" not in essential(rich())["metadata"]


def test_keeping_twice_changes_nothing() -> None:
    once = essential(rich())
    assert essential(once) == once


def test_every_kind_of_a_cluster_gives_the_same_request() -> None:
    cluster = Cluster(seed=2, workloads=40, start_s=1767225600.0)
    objects, kept = Objects(), Objects()
    seen = [event.object for event in cluster.begin()]
    for obj in seen:
        objects.put(obj)
        kept.put(essential(obj))
    for obj in seen:
        assert_same(obj, essential(obj))
        if obj["kind"] == "Pod":
            assert kept.top_owner(essential(obj)).name == objects.top_owner(obj).name
            made, made_kept = objects.top_owner(obj).template_object, kept.top_owner(essential(obj)).template_object
            if made is not None:
                assert_same(made, made_kept)


def assert_same(whole: Any, kept: Any) -> None:
    try:
        expected = request_from_object(whole)
    except NotAWorkload:
        return
    assert request_from_object(kept) == expected


WRONG = st.sampled_from([None, 3, True, "text", [], [1], ["text"], {}, {"a": "text"}])


@given(st.data())
def test_what_is_put_together_oddly_is_still_complained_of_and_holds_no_secret(data: st.DataObject) -> None:
    obj = copy.deepcopy(rich())
    places = list(_places(obj))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(WRONG)
    kept = essential(obj)
    if key != "name" and not isinstance(holder, list):  # a secret is told by the name or flag that stands before it
        assert SECRET not in json.dumps(kept)
    assert outcome(kept) == outcome(obj)


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield value, number
            yield from _places(inner)


def outcome(obj: dict[str, Any]) -> str:
    try:
        return spec_hash(request_from_object(obj))
    except InvalidInput as error:
        return str(error)


@pytest.mark.parametrize(
    "obj", [{}, {"metadata": None}, {"metadata": []}, {"kind": "Pod", "spec": None}, {"spec": "x"}]
)
def test_hardly_an_object_is_kept_as_what_it_is(obj: dict[str, Any]) -> None:
    assert essential(essential(obj)) == essential(obj)
