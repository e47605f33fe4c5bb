"""What people pipe into podpower: each workload once, and a reason for every object that is skipped."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.specs.manifests import read_all_manifests, read_manifests
from podpower.specs.selection import Options, Workloads, select

POD_SPEC = {"containers": [{"name": "c", "image": "nginx:1.27"}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD_SPEC}
VERSIONS = {
    "Deployment": "apps/v1", "ReplicaSet": "apps/v1", "DaemonSet": "apps/v1", "StatefulSet": "apps/v1",
    "Job": "batch/v1", "CronJob": "batch/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
    "ScaledObject": "keda.sh/v1alpha1", "Rollout": "argoproj.io/v1alpha1",
}  # fmt: skip


def obj(kind: str, name: str, *, owner: dict[str, Any] | None = None, uid: bool = True, **parts: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": parts.pop("namespace", "shop")}
    metadata["labels"] = parts.pop("labels", {})
    if uid:
        metadata["uid"] = f"uid-{kind}-{name}"
    if owner is not None:
        names = {"kind": owner["kind"], "apiVersion": owner["apiVersion"], "name": owner["metadata"]["name"]}
        metadata["ownerReferences"] = [{**names, "uid": owner["metadata"].get("uid", ""), "controller": True}]
    return {"apiVersion": parts.pop("version", VERSIONS.get(kind, "v1")), "kind": kind, "metadata": metadata, **parts}


def deployment(name: str = "web", **parts: Any) -> dict[str, Any]:
    return obj("Deployment", name, spec={"replicas": 2, "template": TEMPLATE}, **parts)


def replica_set(owner: dict[str, Any] | None, hashed: str = "7c9d8b6f5", replicas: int = 2, **parts: Any) -> Any:
    name = f"{owner['metadata']['name'] if owner else 'web'}-{hashed}"
    return obj("ReplicaSet", name, owner=owner, spec={"replicas": replicas, "template": TEMPLATE}, **parts)


def pod(owner: dict[str, Any] | None, name: str = "web-7c9d8b6f5-x2x4z", phase: str = "Running", **parts: Any) -> Any:
    return obj("Pod", name, owner=owner, spec=POD_SPEC, status={"phase": phase}, **parts)


def job(name: str = "report", owner: dict[str, Any] | None = None, status: Any = None, **spec: Any) -> dict[str, Any]:
    return obj("Job", name, owner=owner, spec={"template": TEMPLATE, **spec}, status=status or {})


def cron_job(name: str = "nightly", **spec: Any) -> dict[str, Any]:
    inner = {"spec": {"template": TEMPLATE}}
    return obj("CronJob", name, spec={"schedule": "0 3 * * *", "jobTemplate": inner, **spec})


def read(*objects: Any, **options: Any) -> Workloads:
    data = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
    return read_manifests(data, source="input", options=Options(**options))


def taken(workloads: Workloads) -> list[str]:
    return [f"{request.workload_kind}/{request.workload_name}" for request in workloads.requests]


def skips(workloads: Workloads) -> dict[str, str]:
    return {f"{entry.kind}/{entry.name}": entry.code for entry in workloads.skipped}


WEB = deployment()
RS = replica_set(WEB)


def test_a_deployment_its_replica_sets_and_its_pods_are_one_workload() -> None:
    old = replica_set(WEB, hashed="5d4c", replicas=0)
    found = read(pod(RS), pod(RS, name="web-7c9d8b6f5-b"), obj("Service", "web"), WEB, RS, old)
    assert taken(found) == ["Deployment/web"]
    assert skips(found) == {
        "Pod/web-7c9d8b6f5-x2x4z": "part_of",
        "Pod/web-7c9d8b6f5-b": "part_of",
        "Service/web": "no_pods",
        "ReplicaSet/web-7c9d8b6f5": "part_of",
        "ReplicaSet/web-5d4c": "part_of",
    }
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert reasons["web-7c9d8b6f5-b"] == "part of ReplicaSet/web-7c9d8b6f5"


def test_owners_are_found_by_uid_in_another_file_and_by_name_without_uid() -> None:
    parts = [(json.dumps(RS).encode(), "a.json"), (json.dumps(WEB).encode(), "b.json")]
    assert taken(read_all_manifests(parts)) == ["Deployment/web"]
    assert taken(read(RS, deployment(uid=False))) == ["Deployment/web"]


@pytest.mark.parametrize(
    "other",
    [
        {**WEB, "metadata": {**WEB["metadata"], "uid": "another"}},
        deployment(namespace="other", uid=False),
        deployment("website"),
        obj("StatefulSet", "web", spec={"template": TEMPLATE}),
    ],
    ids=["made anew", "another namespace", "another name", "another kind"],
)
def test_an_object_of_another_owner_is_a_workload_of_its_own(other: Any) -> None:
    assert "ReplicaSet/web-7c9d8b6f5" in taken(read(RS, other))


def test_an_owner_reference_without_controller_makes_no_part() -> None:
    owned = replica_set(WEB)
    owned["metadata"]["ownerReferences"][0]["controller"] = False
    assert len(read(WEB, owned).requests) == 2


def test_pods_are_part_of_a_deployment_whose_replica_set_is_not_in_the_input() -> None:
    labels = {"pod-template-hash": "7c9d8b6f5"}
    assert taken(read(WEB, pod(RS, labels=labels))) == ["Deployment/web"]
    rollout = obj("Rollout", "web", spec={"replicas": 1, "template": TEMPLATE})
    assert taken(read(rollout, pod(RS, labels={"rollouts-pod-template-hash": "7c9d8b6f5"}))) == ["Rollout/web"]
    assert len(read(WEB, pod(RS)).requests) == 2  # nothing ties this ReplicaSet to the Deployment
    assert len(read(deployment("we"), pod(RS, labels=labels)).requests) == 2


def test_pods_are_part_of_a_cron_job_whose_job_is_not_in_the_input() -> None:
    made = job("nightly-29389620", owner=cron_job())
    assert taken(read(cron_job(), pod(made, name="nightly-29389620-x"))) == ["CronJob/nightly"]
    assert len(read(cron_job(), pod(job("nightly-restore"), name="p")).requests) == 2


def test_an_owner_without_pods_of_its_own_does_not_hide_its_pods() -> None:
    node = obj("Node", "n1")
    assert taken(read(node, pod(node, name="kube-proxy-n1"))) == ["Pod/kube-proxy-n1"]
    workflow = obj("Workflow", "build", version="argoproj.io/v1alpha1", spec={"templates": [{"container": {}}]})
    found = read(workflow, pod(workflow, name="build-1"))
    assert taken(found) == ["Pod/build-1"]
    broken = {**WEB, "spec": {"template": {"spec": {"containers": []}}}}
    assert taken(read(broken, RS, pod(RS))) == ["ReplicaSet/web-7c9d8b6f5"]


def test_circular_owners_hide_nothing() -> None:
    one, other = deployment("one"), deployment("other")
    for a, b in ((one, other), (other, one)):
        reference = {"kind": "Deployment", "name": b["metadata"]["name"], "uid": b["metadata"]["uid"]}
        a["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    assert len(read(one, other).requests) == 2
    one["metadata"]["ownerReferences"][0] |= {"name": "one", "uid": one["metadata"]["uid"]}
    assert taken(read(one)) == ["Deployment/one"]


ENDED_JOBS = [
    {"conditions": [{"type": "Complete", "status": "True"}]},
    {"conditions": [{"type": "Suspended", "status": "False"}, {"type": "Failed", "status": "True"}]},
    {"completionTime": "2026-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("status", ENDED_JOBS)
def test_finished_jobs_and_their_pods_draw_nothing(status: Any) -> None:
    done = job(status=status)
    found = read(done, pod(done, name="report-x", phase="Succeeded"))
    assert found.requests == []
    assert skips(found) == {"Job/report": "finished", "Pod/report-x": "part_of"}


@pytest.mark.parametrize("status", [{}, {"active": 1}, {"conditions": [{"type": "Complete", "status": "False"}]}])
def test_running_jobs_draw(status: Any) -> None:
    assert taken(read(job(status=status))) == ["Job/report"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_draw_nothing(phase: str) -> None:
    assert skips(read(pod(None, name="once", phase=phase))) == {"Pod/once": "finished"}


def test_for_training_finished_objects_are_kept_and_marked() -> None:
    found = read(job(status=ENDED_JOBS[0]), replica_set(None, replicas=0), running=False)
    assert [(r.workload_kind, r.state) for r in found.requests] == [("Job", "finished"), ("ReplicaSet", None)]


def test_replica_sets_without_replicas_are_skipped_and_deployments_are_not() -> None:
    idle = obj("Deployment", "idle", spec={"replicas": 0, "template": TEMPLATE})
    found = read(replica_set(None, replicas=0), idle)
    assert taken(found) == ["Deployment/idle"]
    assert found.requests[0].replicas == 0
    assert skips(found) == {"ReplicaSet/web-7c9d8b6f5": "no_replicas"}


def test_of_an_object_that_is_given_twice_the_last_one_counts() -> None:
    newer = obj("Deployment", "web", spec={"replicas": 5, "template": TEMPLATE}, uid=False)
    newer["apiVersion"] = "extensions/v1beta1"
    found = read(WEB, newer)
    assert [(request.workload_name, request.replicas) for request in found.requests] == [("web", 5)]
    assert skips(found) == {"Deployment/web": "duplicate"}
    assert len(read(WEB, deployment(namespace="other"), deployment("web2")).requests) == 3


def test_objects_that_await_a_name_are_no_duplicates() -> None:
    one = job()
    one["metadata"] = {"generateName": "run-"}
    assert len(read(one, one).requests) == 2


def hpa(low: Any, high: int, kind: str = "Deployment", name: str = "web") -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    limits = {"maxReplicas": high, **({} if low is None else {"minReplicas": low})}
    return obj("HorizontalPodAutoscaler", "web", spec={"scaleTargetRef": target, **limits})


def scaled_object(**spec: Any) -> dict[str, Any]:
    return obj("ScaledObject", "web", spec={"scaleTargetRef": {"name": "web"}, "triggers": [], **spec})


@pytest.mark.parametrize(
    ("scaler", "replicas", "limits", "source"),
    [
        (hpa(3, 9), 3, (3, 9), "HorizontalPodAutoscaler/web"),
        (hpa(None, 9), 1, (1, 9), "HorizontalPodAutoscaler/web"),
        (scaled_object(minReplicaCount=2, maxReplicaCount=4), 2, (2, 4), "ScaledObject/web"),
        (scaled_object(), 0, (0, 100), "ScaledObject/web"),
    ],
)
def test_an_autoscaler_gives_the_value_and_the_range(scaler: Any, replicas: int, limits: Any, source: str) -> None:
    for objects in ((WEB, scaler), (scaler, WEB)):
        found = read(*objects)
        (request,) = found.requests
        assert (request.replicas, request.replicas_range, request.replicas_source) == (replicas, limits, source)
        assert [entry.reason for entry in found.skipped] == ["runs no pods; scales Deployment/web"]


def test_an_autoscaler_of_something_else_is_named_and_changes_nothing() -> None:
    found = read(WEB, hpa(3, 9, name="api"))
    assert found.requests[0].replicas == 2
    assert found.skipped[0].reason == "runs no pods; scales Deployment/api, which is not in the input"


def test_a_workload_scaled_to_zero_stays_there() -> None:
    idle = obj("Deployment", "web", spec={"replicas": 0, "template": TEMPLATE})
    assert read(idle, hpa(3, 9)).requests[0].replicas == 0


@pytest.mark.parametrize(
    ("scaler", "message"),
    [
        (hpa(9, 3), "its upper limit of 3 replicas is below the lower one of 9"),
        (hpa("3", 9), "spec.minReplicas: must be"),
        (obj("HorizontalPodAutoscaler", "web", spec={"maxReplicas": 3}), "spec.scaleTargetRef: missing"),
        (obj("HorizontalPodAutoscaler", "web", spec={"maxReplica": 3}), "did you mean maxReplicas?"),
    ],
)
def test_an_autoscaler_that_cannot_be_read_is_an_error(scaler: Any, message: str) -> None:
    found = read(WEB, scaler)
    assert taken(found) == ["Deployment/web"]
    assert message in found.errors[0].detail
    assert found.errors[0].detail.startswith("HorizontalPodAutoscaler web: ")


@pytest.mark.parametrize(
    ("status", "nodes", "replicas", "source"),
    [
        ({"desiredNumberScheduled": 6}, 9, 6, "status.desiredNumberScheduled"),
        ({"desiredNumberScheduled": 0}, 9, 0, "status.desiredNumberScheduled"),
        ({}, 9, 9, "the given number of nodes"),
        ({}, None, None, None),
        ({"desiredNumberScheduled": "6"}, None, None, None),
    ],
)
def test_a_daemon_set_has_a_pod_on_each_node(status: Any, nodes: Any, replicas: Any, source: Any) -> None:
    (request,) = read(obj("DaemonSet", "log", spec={"template": TEMPLATE}, status=status), nodes=nodes).requests
    assert (request.replicas, request.replicas_source) == (replicas, source)


def test_the_cluster_is_that_of_the_options() -> None:
    assert read(WEB, cluster="east").requests[0].cluster == "east"


def test_an_unrendered_template_is_named() -> None:
    helm = b"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n"
    assert "render the template first" in read_manifests(helm, source="t").errors[0].detail
    quoted = deployment()
    quoted["spec"] = {"template": {"spec": {"containers": [{"name": "c", "image": "{{ .Values.image }}"}]}}}
    assert 'image "{{ .Values.image }}" holds a placeholder' in read(quoted).errors[0].detail


def test_a_binary_file_is_not_taken_for_a_template() -> None:
    detail = read_manifests(b"PAR1\xff\x00{{", source="rows.parquet").errors[0].detail
    assert "UTF-8" in detail
    assert "render" not in detail


@pytest.mark.parametrize("count", [1_000_000_001, 2**63])
def test_more_replicas_than_any_cluster_runs_are_rejected(count: int) -> None:
    error = read(deployment() | {"spec": deployment()["spec"] | {"replicas": count}}).errors[0]
    assert "spec.replicas: must be at most 1000000000" in error.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["kind", "metadata", "name", "uid", "spec", "status", "template", "ownerReferences", "labels",
                         "controller", "conditions", "type", "containers", "scaleTargetRef", "replicas"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
KINDS = st.sampled_from(["Pod", "Job", "Deployment", "ReplicaSet", "HorizontalPodAutoscaler", "Thing", "DaemonSet"])


@given(st.lists(st.tuples(KINDS, st.sampled_from(["v1", "apps/v1", "x.io/v1", 3, None]), JSON, JSON, JSON), max_size=4))
def test_every_object_is_taken_skipped_or_named_as_an_error(drawn: Any) -> None:
    objects = [
        {"kind": kind, "apiVersion": version, "metadata": metadata, "spec": spec, "status": status}
        for kind, version, metadata, spec, status in drawn
    ]
    found = select((("input", index, each) for index, each in enumerate(objects)), Options())
    assert len(found.skipped) + len(found.errors) + len(found.requests) >= len(objects)
