"""Misspelt kinds and fields get the nearest right word; valid ones are never called misspelt."""

import collections
import functools
import importlib.resources
import json
from typing import Any

import pytest

from podpower.kubernetes import types
from podpower.specs import autoscalers
from podpower.specs.kind_names import BUILT_IN_KINDS, GROUP_KINDS, SHORT_NAMES
from podpower.specs.manifests import read_manifests
from podpower.specs.selection import Options, Workloads
from podpower.specs.spelling import count_hint, field_hints, kind_hint


def read(text: str, **options: Any) -> Workloads:
    return read_manifests(text.encode(), source="input", options=Options(**options))


GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: nginx:1.27
          resources: {requests: {cpu: 250m, memory: 1Gi}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "hint"),
    [
        ("kind: Deployment", "kind: Deploymnet", "kind: no kind Deploymnet; did you mean Deployment?"),
        ("kind: Deployment", "kind: deployment", "did you mean Deployment?"),
        ("kind: Deployment", "kind: Deploy", "did you mean Deployment?"),
        ("kind: Deployment", "kind: StatefullSet", "did you mean StatefulSet?"),
        ("apps/v1", "app/v1", "apiVersion: no API group app; did you mean apps?"),
        ("containers:", "contianers:", "spec.template.spec.contianers: no such field; did you mean containers?"),
        ("resources:", "resuorces:", "containers[0].resuorces: no such field; did you mean resources?"),
        ("requests:", "request:", "resources.request: no such field; did you mean requests?"),
        ("replicas:", "replica:", "spec.replica: no such field; did you mean replicas?"),
        ("memory:", "memmory:", "requests.memmory: no such field; did you mean memory?"),
        ("template:", "templates:", "did you mean template?"),
        ("spec:\n      containers", "sepc:\n      containers", "spec.template.sepc: no such field; did you mean spec?"),
        ("image:", "Image:", "did you mean image?"),
        ("metadata: {name", "metdata: {name", "did you mean metadata?"),
    ],
)
def test_a_misspelt_word_is_an_error_with_the_right_one(right: str, wrong: str, hint: str) -> None:
    found = read(f"{GOOD.replace(right, wrong, 1)}---\n{GOOD.replace('name: web', 'name: other', 1)}")
    assert [request.workload_name for request in found.requests] == ["other"]
    assert hint in found.errors[0].detail


def test_lenient_reads_as_if_the_misspelt_field_were_absent() -> None:
    (request,) = read(GOOD.replace("requests:", "request:"), lenient=True).requests
    assert request.containers[0].req_cpu_mcpu is None
    found = read(GOOD.replace("kind: Deployment", "kind: Deploymnet"), lenient=True)
    assert [request.workload_kind for request in found.requests] == ["Deploymnet"]  # an unknown kind with a template


@pytest.mark.parametrize(
    ("kind", "field", "hint"),
    [
        ("apps/v1 DaemonSet", "replicas", "spec.replicas: no such field of a DaemonSet; it runs a pod on each node"),
        (
            "apps/v1 StatefulSet",
            "parallelism",
            "spec.parallelism: no such field of a StatefulSet; did you mean replicas?",
        ),
        ("batch/v1 Job", "replicas", "spec.replicas: no such field of a Job; did you mean parallelism?"),
    ],
)
def test_a_number_of_pods_that_the_kind_does_not_have_is_an_error_and_never_counted(
    kind: str, field: str, hint: str
) -> None:
    version, name = kind.split()
    text = GOOD.replace("apps/v1", version).replace("Deployment", name).replace("replicas: 2", f"{field}: 7")
    assert hint in read(text).errors[0].detail
    (request,) = read(text, lenient=True).requests
    assert 7 not in (request.replicas, request.parallelism)


def test_every_misspelt_field_is_named_up_to_five() -> None:
    container = {f"imag{letter}": "x" for letter in "abcdfghij"}
    hints = field_hints({"kind": "Pod", "metadata": {}, "spec": {"containers": [container]}}, types.Pod)
    assert len(hints) == 5


def test_long_keys_cost_nothing() -> None:
    assert field_hints({"spec": {"x" * 1_000_000: 1, "y" * 47: 2}}, types.Workload) == []


# Types of the schemas for each struct that is read.
DEFINITIONS = {
    types.Metadata: ["ObjectMeta"],
    types.ResourceRequirements: ["ResourceRequirements"],
    types.EnvVar: ["EnvVar"],
    types.Exec: ["ExecAction"],
    types.Probe: ["Probe"],
    types.KubeContainer: ["Container", "EphemeralContainer"],
    types.NodeSelector: ["NodeSelector"],
    types.NodeAffinity: ["NodeAffinity"],
    types.Affinity: ["Affinity"],
    types.PodSpec: ["PodSpec"],
    types.PodTemplate: ["PodTemplateSpec", "PodTemplate"],
    types.WorkloadSpec: [
        "DeploymentSpec", "StatefulSetSpec", "DaemonSetSpec", "ReplicaSetSpec", "ReplicationControllerSpec", "JobSpec",
    ],
    types.JobTemplate: ["JobTemplateSpec"],
    types.CronJobSpec: ["CronJobSpec"],
    types.Workload: ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"],
    types.CronJob: ["CronJob"],
    types.Pod: ["Pod"],
    autoscalers._Hpa: ["HorizontalPodAutoscaler"],
    autoscalers._HpaSpec: ["HorizontalPodAutoscalerSpec"],
    autoscalers._Target: ["CrossVersionObjectReference"],
}  # fmt: skip


@functools.cache
def schemas() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Properties by type, and kinds by group, in all Kubernetes versions for which there are schemas."""
    root = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    properties, kinds = collections.defaultdict(set), collections.defaultdict(set)
    for version in root.iterdir():
        if not version.name.endswith("-local"):
            continue
        definitions = json.loads((version / "_definitions.json").read_text())["$defs"]
        for name, definition in definitions.items():
            properties[name.rpartition(".")[2]] |= set(definition.get("properties", ()))
            for gvk in definition.get("x-kubernetes-group-version-kind", ()):
                kinds[gvk["group"]].add(gvk["kind"])
    return dict(properties), dict(kinds)


@pytest.mark.parametrize("shape", DEFINITIONS, ids=lambda shape: shape.__name__)
def test_no_field_of_any_kubernetes_version_is_called_misspelt(shape: type) -> None:
    properties, _ = schemas()
    for name in DEFINITIONS[shape]:
        assert properties[name]
        assert field_hints(dict.fromkeys(properties[name]), shape) == []


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"])
def test_no_field_of_any_kubernetes_version_is_a_misplaced_number_of_pods(kind: str) -> None:
    properties, _ = schemas()
    assert count_hint(kind, dict.fromkeys(properties[f"{kind}Spec"])) is None


def test_every_kind_of_every_kubernetes_version_is_known() -> None:
    _, kinds = schemas()
    ignored = {
        "DeleteOptions",
        "WatchEvent",
        "APIGroup",
        "APIVersions",
        "Status",
    }  # of the protocol; nobody applies them
    for group, names in kinds.items():
        if not (names := {n for n in names if not n.endswith("List")} - ignored):
            continue
        assert names <= set(GROUP_KINDS[group]), group
        assert [kind_hint(name, group) for name in names] == [None] * len(names)


CUSTOM = """
apps.kruise.io CloneSet StatefulSet DaemonSet BroadcastJob AdvancedCronJob SidecarSet ImagePullJob
argoproj.io Rollout Workflow CronWorkflow WorkflowTemplate Application ApplicationSet AppProject EventBus Sensor
stable.example.com CronTab
batch.volcano.sh Job
jobset.x-k8s.io JobSet
serving.knative.dev Service Revision Route Configuration
ray.io RayCluster RayJob RayService
kubeflow.org PyTorchJob TFJob MPIJob Notebook
karpenter.sh NodePool NodeClaim
monitoring.coreos.com Prometheus PodMonitor ServiceMonitor Probe
cluster.x-k8s.io Machine MachineSet MachineDeployment
longhorn.io Volume Replica Node Engine
apps.openshift.io DeploymentConfig
networking.gke.io ManagedCertificate
tekton.dev Task TaskRun Pipeline PipelineRun
leaderworkerset.x-k8s.io LeaderWorkerSet
"""


def test_no_kind_of_another_project_is_called_misspelt() -> None:
    for line in CUSTOM.split("\n"):
        group, *kinds = line.split() or [""]
        assert [kind_hint(kind, group) for kind in kinds] == [None] * len(kinds)


def test_no_field_of_common_custom_resources_is_called_misspelt() -> None:
    rollout = "replicas selector template workloadRef minReadySeconds revisionHistoryLimit paused strategy analysis"
    rollout += " progressDeadlineSeconds progressDeadlineAbort restartAt rollbackWindow"
    assert field_hints(dict.fromkeys(rollout.split()), types.WorkloadSpec) == []
    knative = "containerConcurrency timeoutSeconds responseStartTimeoutSeconds idleTimeoutSeconds containers"
    assert field_hints(dict.fromkeys(knative.split()), types.PodSpec) == []
    keda = "scaleTargetRef pollingInterval cooldownPeriod initialCooldownPeriod idleReplicaCount minReplicaCount"
    keda += " maxReplicaCount fallback advanced triggers"
    assert field_hints(dict.fromkeys(keda.split()), autoscalers._ScaledObjectSpec) == []
    target = "apiVersion kind name envSourceContainerName"
    assert field_hints(dict.fromkeys(target.split()), autoscalers._Target) == []


def test_extended_resources_are_valid() -> None:
    amounts = dict.fromkeys(["nvidia.com/gpu", "cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "x/cpus"], 1)
    assert field_hints({"requests": amounts}, types.ResourceRequirements) == []


def test_short_names_are_of_kinds_with_pods() -> None:
    assert set(SHORT_NAMES.values()) <= BUILT_IN_KINDS
