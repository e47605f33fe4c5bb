"""The one list of the fields that podpower reads from Kubernetes objects, under the names of the API.

`podpower.kubernetes.reading` drops every other field. Nothing here is redacted.
"""

from typing import Annotated, Any, Literal

import msgspec

from podpower.kubernetes.limits import MAX_CONTAINERS, MAX_COUNT, MAX_LABELS, MAX_WORDS

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Resources = dict[str, str | int | float]


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Words = Annotated[list[str], msgspec.Meta(max_length=MAX_WORDS)]
_Labels = Annotated[dict[str, str], msgspec.Meta(max_length=MAX_LABELS)]


class _Shape(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    pass


class Metadata(_Shape):
    """Metadata of an object or template. `generateName` replaces a name that the API server has yet to make."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: _Labels | None = None
    annotations: _Labels | None = None


class OwnerReference(_Shape):
    """An owner of an object; the one with `controller` made it."""

    api_version: str | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class ObjectMetadata(Metadata, kw_only=True):
    """Metadata of an object in a cluster."""

    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[OwnerReference] | None = None


class ManagedFields(_Shape):
    """Entry of `managedFields`: the time of a write, and its operation."""

    operation: str = ""
    time: str = ""
    subresource: str = ""


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

    command: _Words | None = None


class Probe(_Shape):
    """A probe; one that runs a command draws power."""

    exec: Exec | None = None
    period_seconds: int | None = None


class KubeContainer(_Shape):
    """A container or init container of a pod."""

    name: str | None = None
    image: str | None = None
    command: _Words | None = None
    args: _Words | None = None
    env: Annotated[list[EnvVar], msgspec.Meta(max_length=MAX_WORDS)] | None = None
    env_from: list[dict[str, Any]] | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None


class NodeSelector(_Shape):
    """Terms of which one must match."""

    node_selector_terms: list[dict[str, Any]] | None = None


class NodeAffinity(_Shape):
    """The nodes that a pod requires."""

    required: NodeSelector | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(_Shape):
    """Constraints on the place of a pod."""

    node_affinity: NodeAffinity | None = None


class PodSpec(_Shape):
    """The spec of a pod."""

    containers: Annotated[list[KubeContainer], msgspec.Meta(min_length=1, max_length=MAX_CONTAINERS)]
    init_containers: Annotated[list[KubeContainer], msgspec.Meta(max_length=MAX_CONTAINERS)] | None = None
    volumes: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_WORDS)] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    runtime_class_name: str | None = None
    overhead: Resources | None = None
    resources: ResourceRequirements | None = None
    host_network: bool | None = None
    node_name: str | None = None


class PodTemplate(_Shape):
    """A pod's metadata and spec, as a workload holds them."""

    spec: PodSpec
    metadata: Metadata | None = None


class WorkloadSpec(_Shape, kw_only=True):
    """The spec of any kind that holds a pod template."""

    template: PodTemplate
    replicas: _Count | None = None
    parallelism: _Count | None = None
    completions: _Count | None = None
    suspend: bool | None = None
    volume_claim_templates: list[Any] | None = None


class JobTemplate(_Shape):
    """The job that a CronJob starts."""

    spec: WorkloadSpec


class CronJobSpec(_Shape, kw_only=True):
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


class ScaledSpec(WorkloadSpec, kw_only=True):
    """The spec of a workload in a cluster. `workloadRef` is a Rollout's, in place of a template."""

    workload_ref: dict[str, Any] | None = None


class RevisionData(_Shape):
    """The data of a ControllerRevision."""

    spec: WorkloadSpec


class Status(_Shape):
    """The status of a pod."""

    phase: str | None = None


class Object(_Shape, kw_only=True):
    """An object of a cluster, as far as it is kept."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMetadata
    status: Status | None = None


class WorkloadObject(Object, kw_only=True):
    """An object of any other kind than those below."""

    spec: ScaledSpec | None = None


class CronJobObject(Object, kw_only=True):
    """A CronJob of a cluster."""

    spec: CronJobSpec | None = None


class PodObject(Object, kw_only=True):
    """A Pod of a cluster."""

    spec: PodSpec | None = None


class RevisionObject(Object, kw_only=True):
    """A ControllerRevision of a cluster."""

    data: RevisionData | None = None
    revision: int | None = None


class ReceivedMetadata(ObjectMetadata, kw_only=True):
    """Metadata as the API gives it; `managedFields` shows when an object got its form."""

    managed_fields: list[ManagedFields] | None = None


class ReceivedStatus(Status, kw_only=True):
    """Status as the API gives it; `containerStatuses` shows when a pod ended."""

    container_statuses: Any = None


class Received(_Shape, kw_only=True):
    """An object as the API gives it. What is inside `spec` and `data` is read later."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ReceivedMetadata
    spec: Any = None
    data: Any = None
    revision: Any = None
    status: ReceivedStatus | None = None
