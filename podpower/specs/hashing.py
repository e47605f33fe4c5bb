"""The `spec_hash`: identity of what decides power. Equal templates have equal hashes, wherever they were read."""

import hashlib

import msgspec

from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.specs.requests import InferenceRequest

_ENCODER = msgspec.json.Encoder(order="sorted")  # keys of dictionaries, and fields of a container


def spec_hash(request: InferenceRequest) -> str:
    """Return 64 hex digits over the fields that decide power; names, labels, annotations and scale do not enter.

    A field that someone edits changes the hash, because it is computed from the fields and never taken on trust.
    """
    parts = (
        request.containers,
        request.init_container_count,
        request.sidecar_count,
        sorted(set(request.volume_types)) if request.volume_types else (),
        request.node_type,
        request.runtime_class,
        request.gpu_count,
        request.pod_req_cpu_mcpu,
        request.pod_req_mem_mib,
        request.pod_lim_cpu_mcpu,
        request.pod_lim_mem_mib,
        request.template_digest,
    )
    # Only where they differ from what `gpu_count` alone means, so that hashes of most specs stay what they were.
    gpus = None if request.gpus == request.gpu_count else request.gpus
    accelerator = () if gpus is None and request.gpu_model is None else (gpus, request.gpu_model)
    return digest((*parts, *accelerator))


def hash_version(request: InferenceRequest) -> int:
    """Return the version of a request's hash: an older one where its template digest is older and cannot be computed
    again.
    """
    if request.template_digest is None:
        return HASH_VERSION
    return min(HASH_VERSION, request.template_digest_version or FIRST_VERSION)


def digest(value: object) -> str:
    """Return the SHA-256 (64 hex digits) of a plain value; the order of keys does not matter."""
    return hashlib.sha256(_ENCODER.encode(value)).hexdigest()
