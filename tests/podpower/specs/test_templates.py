"""Pod templates of kinds that podpower does not know."""

import json
from typing import Any

import pytest

from podpower.specs.manifests import read_manifests
from podpower.specs.selection import Workloads

POD = {"containers": [{"name": "main", "image": "app:1"}]}


def read(version: str, kind: str, spec: Any, **parts: Any) -> Workloads:
    obj = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec, **parts}
    return read_manifests(json.dumps(obj).encode(), source="input")


@pytest.mark.parametrize(
    ("version", "kind", "spec", "pods"),
    [
        ("serving.knative.dev/v1", "Service", {"template": {"spec": POD}}, {None: 1}),
        ("apps.openshift.io/v1", "DeploymentConfig", {"replicas": 3, "template": {"spec": POD}}, {None: 3}),
        ("apps.kruise.io/v1alpha1", "CloneSet", {"replicas": 3, "template": {"spec": POD}}, {None: 3}),
        ("ray.io/v1", "RayCluster", {
            "headGroupSpec": {"template": {"spec": POD}},
            "workerGroupSpecs": [{"replicas": 4, "minReplicas": 1, "maxReplicas": 9, "template": {"spec": POD}}],
        }, {"spec.headGroupSpec": 1, "spec.workerGroupSpecs[0]": 4}),
        ("kubeflow.org/v1", "PyTorchJob", {"pytorchReplicaSpecs": {
            "Master": {"replicas": 1, "template": {"spec": POD}}, "Worker": {"replicas": 8, "template": {"spec": POD}},
        }}, {"spec.pytorchReplicaSpecs.Master": 1, "spec.pytorchReplicaSpecs.Worker": 8}),
        ("jobset.x-k8s.io/v1alpha2", "JobSet", {"replicatedJobs": [
            {"name": "w", "replicas": 2, "template": {"spec": {"parallelism": 3, "template": {"spec": POD}}}},
        ]}, {None: 6}),
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet",
         {"replicas": 2, "leaderWorkerTemplate": {"size": 4, "workerTemplate": {"spec": POD}}}, {None: 8}),
        ("sparkoperator.k8s.io/v1beta2", "SparkApplication", {
            "driver": {"template": {"spec": POD}}, "executor": {"instances": 5, "template": {"spec": POD}},
        }, {"spec.driver": 1, "spec.executor": 5}),
        ("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"minReplicas": 2, **POD}}, {None: 2}),
        ("keda.sh/v1alpha1", "ScaledJob",
         {"minReplicaCount": 1, "maxReplicaCount": 7, "jobTargetRef": {"template": {"spec": POD}}}, {None: 1}),
        ("batch.volcano.sh/v1alpha1", "Job", {"tasks": [{"replicas": 6, "template": {"spec": POD}}]}, {None: 6}),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0].isupper() else "",
)  # fmt: skip
def test_a_template_in_an_unambiguous_place_is_predicted(version: str, kind: str, spec: Any, pods: Any) -> None:
    found = read(version, kind, spec)
    assert found.errors == []
    assert {r.workload_kind for r in found.requests} == {kind}
    counts = {r.component: r.parallelism if kind == "Job" else r.replicas for r in found.requests}
    assert counts == pods


def test_autoscaling_inside_an_object_is_its_range() -> None:
    group = {"replicas": 4, "minReplicas": 1, "maxReplicas": 9, "template": {"spec": POD}}
    (request,) = read("ray.io/v1", "RayCluster", {"workerGroupSpecs": [group]}).requests
    assert (request.replicas, request.replicas_range) == (4, (1, 9))


@pytest.mark.parametrize(
    ("version", "kind", "spec", "why"),
    [
        ("argoproj.io/v1alpha1", "Workflow", {"templates": [{"name": "a", "container": {"image": "b"}}]}, "no pod"),
        ("postgresql.cnpg.io/v1", "Cluster", {"instances": 3}, "no pod template"),
        ("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"model": {"storageUri": "s3://m"}}}, "no pod"),
        ("monitoring.coreos.com/v1", "Prometheus", {"replicas": 2, "containers": [{"name": "p", "image": "t"}]}, "no"),
        ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch",
         {"nodeSets": [{"count": 3, "podTemplate": {"spec": {"containers": [{"name": "elasticsearch"}]}}}]}, "images"),
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet",
         {"leaderWorkerTemplate": {"leaderTemplate": {"spec": POD}, "workerTemplate": {"spec": POD}}}, "together"),
        ("flink.apache.org/v1beta1", "FlinkDeployment",
         {"podTemplate": {"spec": POD}, "taskManager": {"podTemplate": {"spec": POD}}}, "belong together"),
        ("x.io/v1", "Thing", None, "no spec"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0].isupper() else "",
)  # fmt: skip
def test_an_unknown_kind_without_such_a_template_is_unknown(version: str, kind: str, spec: Any, why: str) -> None:
    found = read(version, kind, spec)
    assert (found.requests, found.errors, found.unknown_kinds) == ([], [], 1)
    assert found.skipped[0].reason.startswith("unknown kind, which may run pods: ")
    assert why in found.skipped[0].reason


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "Service"), ("v1", "ConfigMap"), ("networking.k8s.io/v1", "Ingress"), ("v1", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("cert-manager.io/v1", "Certificate"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"), ("argoproj.io/v1alpha1", "WorkflowTemplate"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"), (None, "Service"), ("v1", "List"), ("v1", "PodList"),
        ("v1", "PodTemplate"), ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"),
    ],
)  # fmt: skip
def test_well_known_kinds_run_no_pods(version: Any, kind: str) -> None:
    found = read(version, kind, {"template": {"spec": POD}})
    assert (found.requests, found.errors, [entry.code for entry in found.skipped]) == ([], [], ["no_pods"])


def test_a_huge_object_is_searched_in_bounded_time() -> None:
    wide = {"items": [{"template": {"spec": {"a": [{}] * 10}}}] * 5_000}
    found = read("x.io/v1", "Thing", wide)
    assert found.unknown_kinds == 1
    assert "too large" in found.skipped[0].reason
