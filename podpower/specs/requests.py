"""`InferenceRequest` v1: the description of one workload before it runs. Data only; no parsing of manifests."""

from typing import Annotated, Final, Literal

import msgspec

from podpower.kubernetes.limits import (
    MAX_CONTAINERS,
    MAX_COUNT,
    MAX_CPU_MCPU,
    MAX_DEVICES,
    MAX_LABELS,
    MAX_MEMORY_MIB,
    MAX_WORDS,
)

SCHEMA_VERSION: Final = "v1"

Cpu = Annotated[float, msgspec.Meta(ge=0, le=MAX_CPU_MCPU)]
Memory = Annotated[float, msgspec.Meta(ge=0, le=MAX_MEMORY_MIB)]
Devices = Annotated[float, msgspec.Meta(ge=0, le=MAX_DEVICES)]
DeviceCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_DEVICES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Words = Annotated[list[str], msgspec.Meta(max_length=MAX_WORDS)]
Labels = Annotated[dict[str, str], msgspec.Meta(max_length=MAX_LABELS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Container(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One container of the pod template. Absent resources are None, never 0; `_mcpu` millicores, `_mib` MiB."""

    name: str | None = None
    image: str | None = None
    command: Words | None = None
    args: Words | None = None
    req_cpu_mcpu: Cpu | None = None
    req_mem_mib: Memory | None = None
    lim_cpu_mcpu: Cpu | None = None
    lim_mem_mib: Memory | None = None


class InferenceRequest(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One workload, as collected, stored a line in NDJSON, encoded, and sent to `POST /predict`.

    The fields of the reference system's v1 come first, ours after `completions`. The `pod_*` amounts are set where the
    pod's effective resources are not the sum of its containers' (pod-level resources, native sidecars, overhead).
    `template_digest` covers what decides power and is not in the other fields (environment, node
    selector, probes ...), after redaction; with the other fields it makes the `spec_hash` (podpower.specs.hashing);
    `template_digest_version` is the version of its rules (None: the first).

    `component` names the pod template within an object that has several. `replicas_source` is where `replicas` comes
    from when it is not the object's own field, `replicas_range` the limits of its autoscaler. `schedule`, `time_zone`
    and `concurrency_policy` are those of a CronJob. A workload with a `state` draws nothing now.

    `gpu_count` is the number of devices, `gpus` how many whole GPUs they are (slices and shares count as their part;
    None: `gpu_count`), `gpu_model` the model that the pod's node selector or node type names.
    """

    schema_version: Literal["v1"] = SCHEMA_VERSION
    namespace: Name = "default"
    workload_kind: Name
    workload_name: Name
    labels: Labels = {}
    annotations: Labels = {}
    containers: Annotated[list[Container], msgspec.Meta(min_length=1, max_length=MAX_CONTAINERS)]
    init_container_count: Count = 0
    sidecar_count: Count = 0
    volume_types: Words = []
    node_type: str | None = None
    runtime_class: str | None = None
    gpu_count: DeviceCount = 0
    parallelism: Count | None = None
    completions: Count | None = None

    cluster: str | None = None
    replicas: Count | None = None
    pod_req_cpu_mcpu: Cpu | None = None
    pod_req_mem_mib: Memory | None = None
    pod_lim_cpu_mcpu: Cpu | None = None
    pod_lim_mem_mib: Memory | None = None
    template_digest: str | None = None
    template_digest_version: Count | None = None
    component: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    replicas_source: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    replicas_range: tuple[Count, Count] | None = None
    schedule: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] | None = None
    state: Literal["suspended", "finished"] | None = None
    gpus: Devices | None = None
    gpu_model: Annotated[str, msgspec.Meta(max_length=64)] | None = None
