import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput
from podpower.specs.normalising import NotAWorkload, request_from_object
from tests.podpower.specs.manifests import deployment

POD_SPEC: dict[str, Any] = {"containers": [{"name": "main", "image": "busybox"}]}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "w", "namespace": "n"}, "spec": {"template": {"spec": POD_SPEC}, **spec}}


def pod(**spec: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {**POD_SPEC, **spec}}


CRON = {
    "kind": "CronJob",
    "metadata": {"name": "w", "namespace": "n"},
    "spec": {"jobTemplate": {"spec": {"completions": 5, "parallelism": 2, "template": {"spec": POD_SPEC}}}},
}


@pytest.mark.parametrize(
    ("manifest", "replicas", "parallelism", "completions"),
    [
        (workload("Deployment"), 1, None, None),
        (workload("Deployment", replicas=0), 0, None, None),
        (workload("StatefulSet", replicas=3), 3, None, None),
        (workload("DaemonSet"), None, None, None),
        (workload("ReplicaSet", replicas=2), 2, None, None),
        (workload("Rollout", replicas=4), 4, None, None),
        (workload("Job", parallelism=3, completions=9), None, 3, 9),
        (workload("Job"), None, 1, None),
        (CRON, None, 2, 5),
        (pod(), None, None, None),
        (workload("SparkWorker"), None, None, None),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_every_kind_that_runs_pods_and_its_scale(
    manifest: dict[str, Any], replicas: int | None, parallelism: int | None, completions: int | None
) -> None:
    request = request_from_object(manifest, cluster="c")
    assert (request.workload_kind, request.cluster) == (manifest["kind"], "c")
    assert (request.replicas, request.parallelism, request.completions) == (replicas, parallelism, completions)


def test_missing_resources_are_null_and_a_missing_request_is_the_limit() -> None:
    none = request_from_object(deployment()).containers[0]
    assert (none.req_cpu_mcpu, none.req_mem_mib, none.lim_cpu_mcpu, none.lim_mem_mib) == (None, None, None, None)
    limited = request_from_object(deployment(resources={"limits": {"cpu": "2", "memory": "1Gi"}})).containers[0]
    assert (limited.req_cpu_mcpu, limited.req_mem_mib) == (2000, 1024)
    zero = request_from_object(deployment(resources={"requests": {"cpu": 0}})).containers[0]
    assert zero.req_cpu_mcpu == 0


def test_native_and_injected_sidecars_are_counted_and_their_resources_added() -> None:
    manifest = pod(
        initContainers=[
            {"name": "setup", "image": "busybox"},
            {"name": "logs", "image": "fluent-bit", "restartPolicy": "Always",
             "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}}},
        ],
        containers=[
            {"name": "main", "image": "nginx", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.24"},
        ],
    )  # fmt: skip
    request = request_from_object(manifest)
    assert (request.init_container_count, request.sidecar_count) == (1, 2)
    assert request.pod_req_cpu_mcpu == 150
    assert request.pod_req_mem_mib == 32


def test_pod_level_resources_and_overhead_stand_for_the_sum() -> None:
    request = request_from_object(
        pod(resources={"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}}, overhead={"cpu": "250m"})
    )
    assert request.pod_req_cpu_mcpu == 1250
    assert request.pod_req_mem_mib == request.pod_lim_mem_mib == 2048


def test_a_pod_with_limits_of_its_own_requests_what_its_containers_do() -> None:
    containers = [{"name": name, "image": "i", "resources": {"requests": {"cpu": "250m"}}} for name in "ab"]
    started = [
        {"name": "proxy", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
        {"name": "setup", "image": "i", "resources": {"requests": {"cpu": "900m"}}},
    ]
    limits = {"limits": {"cpu": "4", "memory": "8Gi"}}
    request = request_from_object(pod(resources=limits, containers=containers))
    assert (request.pod_req_cpu_mcpu, request.pod_lim_cpu_mcpu, request.pod_req_mem_mib) == (500, 4000, 8192)
    assert (
        request_from_object(pod(resources=limits, containers=containers, initContainers=started)).pod_req_cpu_mcpu
        == 1000
    )
    assert request_from_object(pod(containers=containers, initContainers=started)).pod_req_cpu_mcpu == 600


def test_a_pod_whose_main_container_has_no_limit_is_not_limited_by_its_sidecar() -> None:
    sidecar = {"name": "s", "image": "i", "restartPolicy": "Always", "resources": {"limits": {"cpu": "100m"}}}
    request = request_from_object(pod(initContainers=[sidecar]))
    assert (request.pod_req_cpu_mcpu, request.pod_lim_cpu_mcpu) == (100, None)
    limited = [{"name": "main", "image": "i", "resources": {"limits": {"cpu": "1"}}}]
    assert request_from_object(pod(initContainers=[sidecar], containers=limited)).pod_lim_cpu_mcpu == 1100


@pytest.mark.parametrize(
    ("resource", "count"),
    [("nvidia.com/gpu", 2), ("amd.com/gpu", 2), ("nvidia.com/mig-1g.5gb", 2), ("gpu.intel.com/i915", 2),
     ("ephemeral-storage", 0)],
)  # fmt: skip
def test_gpus_of_all_makers_are_counted(resource: str, count: int) -> None:
    assert request_from_object(deployment(resources={"limits": {resource: 2}})).gpu_count == count


def test_volumes_node_type_and_runtime_class_are_read_from_camel_case() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large"]}]}
    ]}}}  # fmt: skip
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "kube-api-access-x7k2p", "projected": {}},
    ]
    request = request_from_object(pod(affinity=affinity, volumes=volumes, runtimeClassName="kata"))
    assert request.node_type == "m5.large"
    assert request.volume_types == ["emptyDir", "persistentVolumeClaim"]
    assert request.runtime_class == "kata"
    selected = request_from_object(pod(nodeSelector={"node.kubernetes.io/instance-type": "c7g.xlarge"}))
    assert selected.node_type == "c7g.xlarge"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({}, "kind: missing"),
        ({"kind": "Deployment"}, "metadata: missing|spec: missing|runs no pods"),
        ({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {}}, r"spec\.template: missing"),
        (workload("Deployment", replicas="3"), r"spec\.replicas: must be a whole number of pods"),
        (workload("Deployment", replicas=-1), r"spec\.replicas: "),
        (pod(containers=[]), r"spec\.containers: empty; a pod has at least one container"),
        (pod(containers="nginx"), r"spec\.containers: must be a list"),
        (deployment(args=[8080]), r"containers\[0\]\.args\[0\]: .*put it in quotes"),
        (deployment(resources={"requests": {"memory": "1.5.2Gi"}}),
         r'spec\.template\.spec\.containers\[0\]\.resources\.requests\.memory: "1\.5\.2Gi" is not a quantity; write'),
        (deployment(resources={"limits": {"nvidia.com/gpu": "0.5"}}), "whole number of devices"),
        ({"kind": "Pod", "metadata": {}, "spec": POD_SPEC}, r"metadata\.name: missing"),
        ({"kind": "Rollout", "metadata": {"name": "r"}, "spec": {"workloadRef": {"name": "d"}}}, "workloadRef"),
    ],
)  # fmt: skip
def test_an_error_names_the_field_and_what_would_be_right(manifest: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        request_from_object(manifest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
RICH = pod(
    initContainers=[{"name": "i", "image": "b", "restartPolicy": "Always"}],
    affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5"]}]}]}}},
    volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}],
    containers=[{"name": "c", "image": "b", "env": [{"name": "A", "valueFrom": {"x": 1}}],
                 "envFrom": [{"secretRef": {"name": "s"}}], "livenessProbe": {"exec": {"command": ["c"]}},
                 "resources": {"requests": {"cpu": 1}, "limits": {"nvidia.com/gpu": 1}}}],
)  # fmt: skip


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


@given(st.sampled_from(paths(RICH)[1:]), JSON)
def test_anything_anywhere_in_a_manifest_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    manifest = copy.deepcopy(RICH)
    holder: Any = manifest
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with contextlib.suppress(InvalidInput):
        request_from_object(manifest)


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "Secret", "CustomResourceDefinition"])
def test_kinds_without_pods_are_distinguished_from_broken_ones(kind: str) -> None:
    with pytest.raises(NotAWorkload, match=f"a {kind} runs no pods"):
        request_from_object({"kind": kind, "metadata": {"name": "x"}})


def cron_job(**spec: Any) -> dict[str, Any]:
    job = {"spec": {"completions": 4, "template": {"spec": POD_SPEC}}}
    return {"kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {"jobTemplate": job, **spec}}


def test_a_cron_job_keeps_its_schedule() -> None:
    timing = {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "concurrencyPolicy": "Forbid", "suspend": False}
    request = request_from_object(cron_job(**timing))
    assert (request.schedule, request.time_zone, request.concurrency_policy) == ("0 3 * * *", "Europe/Berlin", "Forbid")
    assert (request.state, request.completions) == (None, 4)


def test_suspended_jobs_and_cron_jobs_are_marked() -> None:
    assert request_from_object(cron_job(schedule="@daily", suspend=True)).state == "suspended"
    assert request_from_object(workload("Job", suspend=True)).state == "suspended"
    assert request_from_object(workload("Job")).state is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedule": "61 * * * *"}, r'spec\.schedule: "61 \* \* \* \*" is not a schedule'),
        ({"schedule": "@daily", "timeZone": "Mars/Olympus"}, "is not a time zone"),
        ({"schedule": 5}, r"spec\.schedule: must be a text"),
        ({"schedule": "@daily", "concurrencyPolicy": "Never"}, r"spec\.concurrencyPolicy: "),
    ],
)
def test_a_schedule_that_cannot_be_read_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        request_from_object(cron_job(**spec))
