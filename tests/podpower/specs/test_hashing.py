"""The hash changes when, and only when, what decides power changes."""

import copy
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.errors import InvalidInput
from podpower.specs.hashing import digest, hash_version, spec_hash
from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import decode_request, encode_request
from podpower.specs.normalising import request_from_object
from podpower.specs.requests import Container, InferenceRequest
from tests.podpower.specs.manifests import as_served, deployment

RICH = deployment(
    args=["--threads=4"],
    env=[{"name": "MODE", "value": "fast"}, {"name": "DB_PASSWORD", "value": "hunter2"}],
    resources={"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
)


def hash_of(manifest: dict[str, Any]) -> str:
    return spec_hash(request_from_object(manifest))


def test_yaml_json_list_and_watch_agree() -> None:
    list_ = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{k: RICH[k] for k in ("metadata", "spec")}]}
    texts = [yaml.safe_dump(RICH), json.dumps(RICH), json.dumps(list_), yaml.safe_dump(as_served(RICH))]
    hashes = {spec_hash(read_manifests(text.encode(), source="-").requests[0]) for text in texts}
    assert hashes == {hash_of(RICH)}


def test_a_stored_request_keeps_its_hash() -> None:
    request = request_from_object(RICH)
    assert spec_hash(decode_request(encode_request(request))) == spec_hash(request)


def test_a_hash_has_the_version_of_the_template_digest_in_it() -> None:
    request = request_from_object(RICH)
    assert hash_version(request) == HASH_VERSION
    stored_before = msgspec.structs.replace(request, template_digest_version=None)
    assert hash_version(stored_before) == FIRST_VERSION
    assert hash_version(decode_request(encode_request(stored_before))) == FIRST_VERSION
    without_digest = msgspec.structs.replace(stored_before, template_digest=None)  # as of the reference system
    assert hash_version(without_digest) == HASH_VERSION


def _pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(manifest["spec"]["template"])
    template["spec"]["nodeName"] = "node-1"
    template["spec"]["serviceAccountName"] = "default"
    template["spec"]["tolerations"] = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    template["spec"]["volumes"] = [{"name": "kube-api-access-x7k2p", "projected": {"sources": []}}]
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "kube-api-access-x7k2p", "mountPath": "/var"}]
    return {"kind": "Pod", "metadata": {"name": "web-5ddcf9fd46-4brhr", "namespace": "shop"}, "spec": template["spec"]}


def test_a_pod_without_its_injected_parts_hashes_like_its_template() -> None:
    assert hash_of(_pod_of(RICH)) == hash_of(RICH)


AS_WRITTEN: dict[str, Any] = {
    "resources": {"limits": {"cpu": "4", "memory": "8Gi"}},
    "initContainers": [{"name": "i", "image": "busybox", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}],
    "containers": [
        {"name": "a", "image": "nginx", "resources": {"requests": {"cpu": "250m"}}},
        {"name": "b", "image": "nginx", "resources": {"limits": {"cpu": "2"}}},
    ],
}
# The same pod with the defaults of the API server: a request is the limit, and the pod's own is what its containers
# request together, or its limit.
AS_STORED: dict[str, Any] = {
    "resources": {"requests": {"cpu": "2250m", "memory": "1Gi"}, **AS_WRITTEN["resources"]},
    "initContainers": [
        {
            "name": "i",
            "image": "busybox",
            "resources": {key: {"cpu": 2, "memory": "1Gi"} for key in ("requests", "limits")},
        }
    ],
    "containers": [
        {"name": "a", "image": "nginx", "resources": {"requests": {"cpu": "250m"}}},
        {"name": "b", "image": "nginx", "resources": {key: {"cpu": "2"} for key in ("requests", "limits")}},
    ],
}


@pytest.mark.parametrize("left_out", [(), ("resources",), ("initContainers",)], ids=str)
def test_a_pod_as_written_hashes_like_the_pod_that_the_api_server_stores(left_out: tuple[str, ...]) -> None:
    written, stored = (
        {"kind": "Pod", "metadata": {"name": "p"}, "spec": {k: v for k, v in spec.items() if k not in left_out}}
        for spec in (AS_WRITTEN, AS_STORED)
    )
    if left_out == ("initContainers",):
        stored = copy.deepcopy(stored)
        stored["spec"]["resources"]["requests"]["memory"] = "8Gi"  # no container requests any
    assert hash_of(written) == hash_of(stored)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "image": lambda pod: pod["containers"][0].update(image="nginx:1.26"),
    "arguments": lambda pod: pod["containers"][0].update(args=["--threads=8"]),
    "environment": lambda pod: pod["containers"][0]["env"][0].update(value="slow"),
    "cpu request": lambda pod: pod["containers"][0]["resources"]["requests"].update(cpu="200m"),
    "memory limit": lambda pod: pod["containers"][0]["resources"]["limits"].update(memory="2Gi"),
    "gpu": lambda pod: pod["containers"][0]["resources"]["limits"].update({"nvidia.com/gpu": 1}),
    "another container": lambda pod: pod["containers"].append({"name": "b", "image": "busybox"}),
    "native sidecar": lambda pod: pod.update(
        initContainers=[{"name": "b", "image": "busybox", "restartPolicy": "Always"}]
    ),
    "node selector": lambda pod: pod.update(nodeSelector={"pool": "big"}),
    "runtime class": lambda pod: pod.update(runtimeClassName="gvisor"),
    "volume": lambda pod: pod.update(volumes=[{"name": "v", "emptyDir": {}}]),
    "host network": lambda pod: pod.update(hostNetwork=True),
    "overhead": lambda pod: pod.update(overhead={"cpu": "250m"}),
    "exec probe": lambda pod: pod["containers"][0].update(livenessProbe={"exec": {"command": ["check"]}}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_power_changes_the_hash(name: str) -> None:
    changed = copy.deepcopy(RICH)
    CHANGES[name](changed["spec"]["template"]["spec"])
    assert hash_of(changed) != hash_of(RICH)


INIT = {
    "name": "i", "image": "busybox:1", "command": ["sh"], "args": ["-c"], "env": [{"name": "A", "value": "1"}],
    "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}},
}  # fmt: skip
TERMS = [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
# A template that has all that is digested, and what changes in it: two templates that differ there differ in power.
FULL = deployment(
    env=[{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    envFrom=[{"configMapRef": {"name": "c"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}],
    resources={"limits": {"nvidia.com/gpu": 1, "ephemeral-storage": "1Gi"}},
    livenessProbe={"exec": {"command": ["live"]}, "periodSeconds": 5},
    readinessProbe={"exec": {"command": ["ready"]}},
    startupProbe={"exec": {"command": ["start"]}},
)
FULL["spec"]["template"]["spec"] |= {
    "initContainers": [INIT],
    "nodeSelector": {"pool": "big"},
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": TERMS}}},
    "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}, {"name": "w", "emptyDir": {}}],
    "hostNetwork": True,
}
DIGESTED: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "environment": lambda pod, c: c["env"][0].update(value="2"),
    "name in the environment": lambda pod, c: c["env"][0].update(name="C"),
    "source of the environment": lambda pod, c: c["env"][1].update(valueFrom={"secretKeyRef": {"name": "x"}}),
    "config map": lambda pod, c: c["envFrom"][0]["configMapRef"].update(name="d"),
    "prefix": lambda pod, c: c["envFrom"][0].pop("prefix"),
    "secret": lambda pod, c: c["envFrom"][1]["secretRef"].update(name="t"),
    "a config map of the secret's name": lambda pod, c: c["envFrom"].__setitem__(1, {"configMapRef": {"name": "s"}}),
    "number of devices": lambda pod, c: c["resources"]["limits"].update({"nvidia.com/gpu": 2}),
    "kind of device": lambda pod, c: c["resources"].update(limits={"amd.com/gpu": 1}),
    "liveness probe": lambda pod, c: c["livenessProbe"]["exec"].update(command=["x"]),
    "period of a probe": lambda pod, c: c["livenessProbe"].update(periodSeconds=1),
    "readiness probe": lambda pod, c: c["readinessProbe"]["exec"].update(command=["x"]),
    "startup probe": lambda pod, c: c["startupProbe"]["exec"].update(command=["x"]),
    "image of an init container": lambda pod, c: pod["initContainers"][0].update(image="busybox:2"),
    "command of an init container": lambda pod, c: pod["initContainers"][0].update(command=["ash"]),
    "arguments of an init container": lambda pod, c: pod["initContainers"][0].update(args=["-x"]),
    "environment of an init container": lambda pod, c: pod["initContainers"][0]["env"][0].update(value="2"),
    "sidecar": lambda pod, c: pod["initContainers"][0].update(restartPolicy="Always"),
    "cpu request of an init container": lambda pod, c: _of_init(pod, "requests").update(cpu="600m"),
    "memory request of an init container": lambda pod, c: _of_init(pod, "requests").update(memory="65Mi"),
    "cpu limit of an init container": lambda pod, c: _of_init(pod, "limits").update(cpu=2),
    "memory limit of an init container": lambda pod, c: _of_init(pod, "limits").update(memory="2Gi"),
    "cpu as a limit only": lambda pod, c: _of_init(pod, "requests").pop("cpu"),
    "node selector": lambda pod, c: pod["nodeSelector"].update(pool="small"),
    "node affinity": lambda pod, c: pod.pop("affinity"),
    "volume in memory": lambda pod, c: pod["volumes"][0].update(emptyDir={}),
    "another volume in memory": lambda pod, c: pod["volumes"][1].update(emptyDir={"medium": "Memory"}),
    "host network": lambda pod, c: pod.pop("hostNetwork"),
}
SAME: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "the default period of a probe": lambda pod, c: c["readinessProbe"].update(periodSeconds=10),
    "thresholds of a probe": lambda pod, c: c["readinessProbe"].update(failureThreshold=9),
    "order of the environment": lambda pod, c: c["env"].reverse(),
    "order of its sources": lambda pod, c: c["envFrom"].reverse(),
    "a field reference to another field": lambda pod, c: c["env"][1]["valueFrom"]["fieldRef"].update(fieldPath="x"),
    "spelling of a number of devices": lambda pod, c: c["resources"]["limits"].update({"nvidia.com/gpu": "1"}),
    "a request of the devices that are the limit": lambda pod, c: c["resources"].update(requests={"nvidia.com/gpu": 1}),
    "another resource": lambda pod, c: c["resources"]["limits"].update({"ephemeral-storage": "2Gi"}),
    "spelling of an init container's request": lambda pod, c: _of_init(pod, "requests").update(cpu=0.5),
    "restart policy of an init container": lambda pod, c: pod["initContainers"][0].update(restartPolicy="Never"),
    "preferred nodes": lambda pod, c: pod["affinity"]["nodeAffinity"].update(
        preferredDuringSchedulingIgnoredDuringExecution=[{"weight": 1, "preference": TERMS[0]}]
    ),
    "other affinity": lambda pod, c: pod["affinity"].update(podAffinity={}),
    "names of volumes": lambda pod, c: pod["volumes"][0].update(name="x"),
    "the default medium": lambda pod, c: pod["volumes"][1].update(emptyDir={"medium": ""}),
    "service links": lambda pod, c: pod.update(enableServiceLinks=False),
}


def _of_init(pod: dict[str, Any], side: str) -> dict[str, Any]:
    amounts: dict[str, Any] = pod["initContainers"][0]["resources"][side]
    return amounts


def _hash_after(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> str:
    manifest = copy.deepcopy(FULL)
    pod = manifest["spec"]["template"]["spec"]
    change(pod, pod["containers"][0])
    return hash_of(manifest)


@pytest.mark.parametrize("name", DIGESTED)
def test_each_part_of_a_template_that_decides_power_changes_the_hash(name: str) -> None:
    assert _hash_after(DIGESTED[name]) != hash_of(FULL)


def test_all_these_changes_give_different_hashes() -> None:
    assert len({_hash_after(change) for change in DIGESTED.values()}) == len(DIGESTED)


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_decide_power_keeps_the_hash(name: str) -> None:
    assert _hash_after(SAME[name]) == hash_of(FULL)


@pytest.mark.parametrize(
    "extra",
    [
        {"hostNetwork": False}, {"nodeSelector": {}}, {"initContainers": []}, {"affinity": {}}, {"volumes": []},
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": None}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_template_with_nothing_to_digest_has_no_digest(extra: dict[str, Any]) -> None:
    plain = deployment(livenessProbe={"httpGet": {"path": "/", "port": 80}})
    plain["spec"]["template"]["spec"] |= extra
    assert request_from_object(plain).template_digest is None


def test_an_invalid_amount_of_an_init_container_names_its_place() -> None:
    with pytest.raises(InvalidInput, match='resources: "1g" is not a quantity'):
        _hash_after(lambda pod, c: _of_init(pod, "limits").update(memory="1g"))


def test_a_rotated_secret_and_another_spelling_of_a_quantity_do_not() -> None:
    changed = copy.deepcopy(RICH)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["env"][1]["value"] = "hunter3"
    container["resources"]["requests"] = {"memory": "67108864", "cpu": 0.1}
    assert hash_of(changed) == hash_of(RICH)


EDITED: dict[str, Any] = {
    "init_container_count": 7, "sidecar_count": 7, "volume_types": ["hostPath"], "node_type": "m5.large",
    "runtime_class": "gvisor", "gpu_count": 7, "pod_req_cpu_mcpu": 7.0, "pod_req_mem_mib": 7.0, "pod_lim_cpu_mcpu": 7.0,
    "pod_lim_mem_mib": 7.0, "template_digest": "0" * 64, "gpus": 0.5, "gpu_model": "t4",
}  # fmt: skip
EDITED_CONTAINER: dict[str, Any] = {
    "name": "other", "image": "other", "command": ["other"], "args": ["other"], "req_cpu_mcpu": 7.0,
    "req_mem_mib": 7.0, "lim_cpu_mcpu": 7.0, "lim_mem_mib": 7.0,
}  # fmt: skip
UNHASHED: dict[str, Any] = {
    "namespace": "other", "workload_kind": "StatefulSet", "workload_name": "other", "labels": {"a": "b"},
    "annotations": {"a": "b"}, "parallelism": 7, "completions": 7, "cluster": "other", "replicas": 7,
    "template_digest_version": 1, "component": "other", "replicas_source": "other", "replicas_range": (1, 7),
    "schedule": "@daily", "time_zone": "UTC", "concurrency_policy": "Forbid", "state": "suspended",
}  # fmt: skip


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_field_of_a_request_changes_its_hash(name: str) -> None:
    request = request_from_object(RICH)
    assert spec_hash(msgspec.structs.replace(request, **{name: EDITED[name]})) != spec_hash(request)


@pytest.mark.parametrize("name", EDITED_CONTAINER)
def test_an_edited_field_of_a_container_changes_the_hash(name: str) -> None:
    request = request_from_object(RICH)
    container = msgspec.structs.replace(request.containers[0], **{name: EDITED_CONTAINER[name]})
    assert spec_hash(msgspec.structs.replace(request, containers=[container])) != spec_hash(request)


@pytest.mark.parametrize("name", UNHASHED)
def test_names_labels_and_scale_do_not_enter_the_hash(name: str) -> None:
    request = request_from_object(RICH)
    assert spec_hash(msgspec.structs.replace(request, **{name: UNHASHED[name]})) == spec_hash(request)


def test_every_field_of_a_request_is_hashed_or_known_not_to_be() -> None:
    fields = {*EDITED, *UNHASHED, "containers", "schema_version"}
    assert set(InferenceRequest.__struct_fields__) == fields
    assert set(Container.__struct_fields__) == set(EDITED_CONTAINER)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_the_hash_of_this_version_stays_the_same() -> None:
    """Stored hashes are compared with new ones: another hash needs another HASH_VERSION."""
    assert HASH_VERSION == 3
    volumes = [{"name": kind, kind: {}} for kind in ("emptyDir", "hostPath", "configMap", "nfs", "secret")]
    for ordered in (volumes, volumes[::-1]):
        manifest = copy.deepcopy(RICH)
        manifest["spec"]["template"]["spec"].update(
            volumes=ordered, nodeSelector={"pool": "big"}, initContainers=[{"name": "i", "image": "busybox"}]
        )
        assert hash_of(manifest) == "b533d0d387d35a7cce6b923e7e1f319a30a71f72eb3a050a77fe7893a8e097ff"


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: _shuffled(value[key], random) for key in keys}
    return [_shuffled(item, random) for item in value] if isinstance(value, list) else value


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_never_matters(random: Any) -> None:
    assert hash_of(_shuffled(RICH, random)) == hash_of(RICH)
