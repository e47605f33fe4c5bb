"""The parts of Kubernetes objects that are read, as the API names them. Everything else is passed over."""

from typing import Annotated, Any, Literal

import msgspec

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Resources = dict[str, str | int | float]


class _Shape(msgspec.Struct, rename="camel", kw_only=True):
    pass


class Metadata(_Shape):
    """Of any object; `generateName` stands in for a name that the API server has yet to make."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class ResourceRequirements(_Shape):
    """Requests and limits by resource name."""

    requests: Resources | None = None
    limits: Resources | None = None


class EnvVar(_Shape):
    """A variable with its value or where it comes from."""

    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class Exec(_Shape):
    """A command that a probe runs."""

    command: list[str] | None = None


class Probe(_Shape):
    """A probe; only those that run a command draw power worth telling apart."""

    exec: Exec | None = None
    period_seconds: int | None = None


class KubeContainer(_Shape):
    """A container or init container of a pod."""

    name: str | None = None
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    env_from: list[dict[str, Any]] | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None


class NodeSelector(_Shape):
    """Terms of which one must hold."""

    node_selector_terms: list[dict[str, Any]] | None = None


class NodeAffinity(_Shape):
    """Which nodes a pod wants; only what it requires is read."""

    required: NodeSelector | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(_Shape):
    """Where a pod wants to be."""

    node_affinity: NodeAffinity | None = None


class PodSpec(_Shape):
    """What a pod runs."""

    containers: Annotated[list[KubeContainer], msgspec.Meta(min_length=1)]
    init_containers: list[KubeContainer] | None = None
    volumes: list[dict[str, Any]] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    runtime_class_name: str | None = None
    overhead: Resources | None = None
    resources: ResourceRequirements | None = None
    host_network: bool | None = None


class PodTemplate(_Shape):
    """A pod's metadata and spec, as a workload holds them."""

    spec: PodSpec
    metadata: Metadata | None = None


class WorkloadSpec(_Shape):
    """The spec of any kind that holds a pod template."""

    template: PodTemplate
    replicas: Annotated[int, msgspec.Meta(ge=0)] | None = None
    parallelism: Annotated[int, msgspec.Meta(ge=0)] | None = None
    completions: Annotated[int, msgspec.Meta(ge=0)] | None = None
    suspend: bool | None = None
    volume_claim_templates: list[Any] | None = None


class JobTemplate(_Shape):
    """The job that a CronJob starts."""

    spec: WorkloadSpec


class CronJobSpec(_Shape):
    """The spec of a CronJob."""

    job_template: JobTemplate
    schedule: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    suspend: bool | None = None
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] | None = None


class Workload(_Shape):
    """Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, Rollout, or a custom kind alike."""

    kind: str
    metadata: Metadata
    spec: WorkloadSpec


class CronJob(_Shape):
    """A CronJob."""

    kind: str
    metadata: Metadata
    spec: CronJobSpec


class Pod(_Shape):
    """A Pod."""

    kind: str
    metadata: Metadata
    spec: PodSpec
