"""One Kubernetes object into one `InferenceRequest`: the same from YAML, JSON, list and watch."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.errors import InvalidInput
from podpower.kubernetes.accelerators import MODEL_LABELS, gpu_model, gpu_part, is_gpu
from podpower.kubernetes.kinds import JOB_KINDS, REPLICATED_KINDS, WORKLOAD_KINDS
from podpower.kubernetes.limits import TextBudget
from podpower.kubernetes.quantities import NotAQuantity, item_count
from podpower.kubernetes.types import CronJob, KubeContainer, Metadata, Pod, PodSpec, Workload, WorkloadSpec
from podpower.specs.amounts import container_amounts, pod_amounts
from podpower.specs.digests import required_node_terms, template_digest
from podpower.specs.messages import NO_MANIFEST, readable
from podpower.specs.quoting import quoted
from podpower.specs.redaction import redact_command, redact_image, redact_mapping
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.schedules import runs_per_month
from podpower.specs.sidecars import is_injected, split_init

T = TypeVar("T")

_TOKEN_VOLUME = re.compile(r"kube-api-access-\w{5}|default-token-\w{5}|[\w-]+-token-\w{5}")
_NODE_TYPE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")


class NotAWorkload(InvalidInput):
    """The object is valid, but it runs no pods."""


def request_from_object(
    obj: Mapping[str, Any], *, cluster: str | None = None, as_kind: str | None = None
) -> InferenceRequest:
    """Return the request of a workload; `as_kind` replaces its kind by that of its top owner.

    InvalidInput names the field and what would be right; NotAWorkload names a kind that runs no pods.
    """
    kind = obj.get("kind")
    if not isinstance(kind, str) or not kind:
        raise InvalidInput(f"kind: missing; {NO_MANIFEST}, e.g. kind: Deployment")
    try:
        if kind == "CronJob":
            return _cron_job_request(obj, as_kind=as_kind or kind, cluster=cluster)
        metadata, spec, suffix = _read(kind, obj)
        return _request(as_kind or kind, metadata, spec, where=suffix, cluster=cluster)
    except RecursionError:
        raise InvalidInput("spec: nested by hundreds of levels, which no workload needs") from None


def _cron_job_request(obj: Mapping[str, Any], *, as_kind: str, cluster: str | None) -> InferenceRequest:
    cron = convert(obj, CronJob)
    where = "spec.jobTemplate.spec.template.spec"
    request = _request(as_kind, cron.metadata, cron.spec.job_template.spec, where=where, cluster=cluster)
    request = msgspec.structs.replace(
        request,
        schedule=cron.spec.schedule,
        time_zone=cron.spec.time_zone,
        concurrency_policy=cron.spec.concurrency_policy,
        state="suspended" if cron.spec.suspend else request.state,
    )
    try:
        check_schedule(request)
    except InvalidInput as error:
        raise InvalidInput(f"spec.{error}") from None
    return request


def check_texts(containers: Iterable[KubeContainer | Container], *mappings: Mapping[str, str] | None) -> None:
    """Raise InvalidInput when a workload has more texts than an object of Kubernetes can have."""
    budget = TextBudget()
    for mapping in mappings:
        budget.add(*(mapping or {}).keys(), *(mapping or {}).values())
    for container in containers:
        budget.add(container.image, *(container.command or ()), *(container.args or ()))
        if isinstance(container, KubeContainer):
            for variable in container.env or ():
                budget.add(variable.name, variable.value)
            for probe in (container.liveness_probe, container.readiness_probe, container.startup_probe):
                budget.add(*((probe.exec.command if probe and probe.exec else None) or ()))


def check_schedule(request: InferenceRequest) -> None:
    """Raise InvalidInput when the schedule or time zone of a request cannot be read."""
    if request.schedule is not None:
        try:
            runs_per_month(request.schedule, request.time_zone)
        except InvalidInput as error:
            raise InvalidInput(f"schedule: {error}") from None


def _read(kind: str, obj: Mapping[str, Any]) -> tuple[Metadata, WorkloadSpec | PodSpec, str]:
    if kind == "Pod":
        pod = convert(obj, Pod)
        return pod.metadata, pod.spec, "spec"
    spec = obj.get("spec")
    if isinstance(spec, Mapping) and "workloadRef" in spec and "template" not in spec:
        raise InvalidInput("spec.workloadRef: the pod template is in another object; give that one instead")
    holds_template = isinstance(spec, Mapping) and isinstance(spec.get("template"), Mapping)
    if kind not in WORKLOAD_KINDS and not (holds_template and "spec" in spec["template"]):  # type: ignore[index]
        raise NotAWorkload(f"a {kind} runs no pods; expected one of {', '.join(WORKLOAD_KINDS)}")
    workload = convert(obj, Workload)
    return workload.metadata, workload.spec, "spec.template.spec"


def convert(obj: Mapping[str, Any], shape: type[T]) -> T:
    """Return the object as `shape`. InvalidInput names the field and what would be right."""
    try:
        return msgspec.convert(obj, shape)
    except msgspec.ValidationError as error:
        raise InvalidInput(readable(str(error))) from None


def _request(
    kind: str, metadata: Metadata, spec: WorkloadSpec | PodSpec, *, where: str, cluster: str | None
) -> InferenceRequest:
    pod = spec if isinstance(spec, PodSpec) else spec.template.spec
    template = metadata if isinstance(spec, PodSpec) else spec.template.metadata or Metadata()
    name = metadata.name or (metadata.generate_name or "").rstrip("-.")
    if not name:
        raise InvalidInput("metadata.name: missing; a workload needs a name, e.g. name: web")
    check_texts(
        [*pod.containers, *(pod.init_containers or ())],
        metadata.labels, metadata.annotations, template.labels, template.annotations,
    )  # fmt: skip
    finishing, native = split_init(pod.init_containers or [])
    containers = [_container(c, where=f"{where}.containers[{i}]") for i, c in enumerate(pod.containers)]
    beside = [_container(c, where=f"{where}.initContainers[{c.name}]") for c in native]
    node_type = next(iter(_required_labels(pod, _NODE_TYPE_LABELS).values()), None)
    gpus = _gpus([*pod.containers, *native], where=where)
    request = InferenceRequest(
        cluster=cluster,
        namespace=metadata.namespace or "default",
        workload_kind=kind,
        workload_name=name,
        labels=redact_mapping(template.labels or metadata.labels or {}),
        annotations=redact_mapping(template.annotations or metadata.annotations or {}),
        containers=containers,
        init_container_count=len(finishing),
        sidecar_count=len(native) + sum(is_injected(c) for c in pod.containers),
        volume_types=_volume_types(pod, spec),
        node_type=node_type,
        runtime_class=pod.runtime_class_name,
        gpu_count=sum(gpus.values()),
        gpus=sum(gpu_part(name) * count for name, count in gpus.items()) if gpus else None,
        gpu_model=gpu_model(_required_labels(pod, MODEL_LABELS), node_type) if gpus else None,
        template_digest=template_digest(pod, is_gpu=is_gpu),
        template_digest_version=HASH_VERSION,
        **pod_amounts(pod, containers, beside, where=where),
    )
    if isinstance(spec, PodSpec):
        return request
    is_job, is_known = kind in JOB_KINDS, kind in WORKLOAD_KINDS
    # Of a kind that has no such field the API server ignores it, or refuses the object.
    replicas = spec.replicas if kind in REPLICATED_KINDS or not is_known else None
    parallelism = spec.parallelism if is_job or not is_known else None
    return msgspec.structs.replace(
        request,
        replicas=1 if replicas is None and kind in REPLICATED_KINDS else replicas,
        parallelism=1 if parallelism is None and is_job else parallelism,
        completions=spec.completions if is_job or not is_known else None,
        state="suspended" if spec.suspend and is_job else None,
    )


def _container(container: KubeContainer, *, where: str) -> Container:
    command, args = redact_command(container.command, container.args)
    return Container(
        name=container.name,
        image=redact_image(container.image),
        command=command,
        args=args,
        **container_amounts(container, where=where),
    )


def _volume_types(pod: PodSpec, spec: WorkloadSpec | PodSpec) -> list[str]:
    types = {
        key
        for volume in pod.volumes or ()
        if not _TOKEN_VOLUME.fullmatch(str(volume.get("name", "")))
        for key, value in volume.items()
        if key != "name" and value is not None
    }
    if isinstance(spec, WorkloadSpec) and spec.volume_claim_templates:
        types.add("persistentVolumeClaim")
    return sorted(types)


def _required_labels(pod: PodSpec, labels: Sequence[str]) -> dict[str, str]:
    """Return the node labels that the pod requires, by selector or by a required affinity to exactly one value."""
    selector = pod.node_selector or {}
    required = {label: selector[label] for label in labels if label in selector}
    terms = required_node_terms(pod.affinity)
    expressions = terms[0].get("matchExpressions") if len(terms) == 1 else None
    for expression in expressions if isinstance(expressions, list) else ():
        one = expression if isinstance(expression, dict) else {}
        key, values = str(one.get("key")), one.get("values")
        value = values[0] if isinstance(values, list) and len(values) == 1 else None
        if key in labels and one.get("operator") == "In" and isinstance(value, str):
            required.setdefault(key, value)
    return required


def _gpus(containers: Sequence[KubeContainer], *, where: str) -> Counter[str]:
    """Return devices by resource name."""
    devices: Counter[str] = Counter()
    for container in containers:
        resources = container.resources
        amounts = {**(resources.requests or {}), **(resources.limits or {})} if resources else {}
        try:
            devices.update({name: item_count(amount) for name, amount in amounts.items() if is_gpu(name)})
        except NotAQuantity as error:
            value = next((v for n, v in amounts.items() if is_gpu(n)), "")
            named = quoted(container.name or "")
            raise InvalidInput(f'{where}: GPUs of container {named}: "{quoted(value)}" {error.must}') from None
    return +devices
