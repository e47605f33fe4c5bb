"""`InferenceRequest` v1: what is known of one workload before it runs. Data only; no parsing of manifests."""

from typing import Literal

import msgspec

SCHEMA_VERSION = "v1"


class Container(msgspec.Struct, kw_only=True, frozen=True):
    """One container of the pod template. Absent resources are None, never 0; `_mcpu` millicores, `_mib` MiB."""

    name: str | None = None
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    req_cpu_mcpu: float | None = None
    req_mem_mib: float | None = None
    lim_cpu_mcpu: float | None = None
    lim_mem_mib: float | None = None


class InferenceRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=False):
    """One workload, as collected, stored a line in NDJSON, encoded, and sent to `POST /predict`.

    The seed's v1 fields first, ours after `completions`. `template_digest` stands for what decides power but is
    not spelled out in the other fields (environment, node selector, probes ...), after redaction; together with
    the other fields it makes the `spec_hash` (see `podpower.specs.hashing`).
    """

    schema_version: Literal["v1"] = SCHEMA_VERSION
    namespace: str = "default"
    workload_kind: str
    workload_name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    containers: list[Container]
    init_container_count: int = 0
    sidecar_count: int = 0
    volume_types: list[str] = []
    node_type: str | None = None
    runtime_class: str | None = None
    gpu_count: int = 0
    parallelism: int | None = None
    completions: int | None = None

    cluster: str | None = None
    replicas: int | None = None
    pod_req_cpu_mcpu: float | None = None
    pod_req_mem_mib: float | None = None
    pod_lim_cpu_mcpu: float | None = None
    pod_lim_mem_mib: float | None = None
    template_digest: str | None = None
