"""Physical estimate of a pod's power from its resources, kind and node type alone, without labels.

    power = CPU in use x watts of a busy core + memory x watts of a GiB in use + GPUs x watts of a busy GPU

It knows nothing of the software, so it is rough: within a factor of ten, rarely of two. Models start from it where
they have no labels and learn from labels how far it is off (`podpower.model.prior`). The constants:

- Watts of a vCPU between idle and full load: 2.76 W (3.50 - 0.74) on average, and 0.392 W a GB of memory: Cloud Carbon
  Footprint, "Methodology", appendix I, coefficients for AWS, https://www.cloudcarbonfootprint.org/docs/methodology/.
  Where the node type names the processor: 3.12 W (3.68 - 0.56, Cascade Lake), 1.27 W (1.67 - 0.40, EPYC of the second
  generation) and 1.27 W (1.67 - 0.40, Graviton2): the same project's table by architecture, from SPECpower_ssj2008,
  https://github.com/cloud-carbon-footprint/cloud-carbon-coefficients, output/coefficients-aws-use.csv. Kepler's dynamic
  energy leaves the idle share to the node, so only the difference counts.
- 30 % of 100 requested millicores are in use: the median container uses about that share (49 % of containers use less),
  Datadog, "11 facts about real-world container use", 2020. Beyond, use grows with the square root of the request: large
  requests are mostly headroom. That exponent is ours, from one real cluster (docs/explanation/evaluation.md);
  labels correct it. A job has no requests to wait for: it is taken to compute with what it requests until it is done.
  Nothing uses more than its limit, which a pod has where each of its containers has one.
- A twentieth of the memory's power is dynamic: DRAM refreshes whether it is used or not, which Kepler counts as idle.
- 40 % of the board's power limit a GPU, where node labels or the instance type name its model; else 100 W: boards of
  data centres are limited to 70 W (NVIDIA T4) to 700 W (H100 SXM), data sheets; in production most run at less than
  half of that: Weng et al., "MLaaS in the Wild", NSDI 2022. A MIG slice draws its part of the board, a share of a
  time-sliced GPU a quarter.
- 100 millicores and 128 MiB stand in for requests that are absent: what the operators and exporters around a cluster
  mostly ask for.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from math import isnan

import numpy as np
from numpy.typing import NDArray

from podpower.features.columns import NUMERIC_COLUMNS, Amounts, amounts_of
from podpower.features.names import controller_kind
from podpower.kubernetes.accelerators import board_power_w
from podpower.specs.requests import InferenceRequest

CORE_W = 3.50 - 0.74
INTEL_CORE_W, AMD_CORE_W, ARM_CORE_W = 3.68 - 0.56, 1.67 - 0.40, 1.67 - 0.40
MEMORY_W_PER_GIB = 0.392 / 20
GPU_W, GPU_USE = 100.0, 0.4
CPU_USE, REFERENCE_CPU_MCPU, USE_EXPONENT = 0.3, 100.0, 0.5
UNREQUESTED_CPU_MCPU, UNREQUESTED_MEMORY_MIB = 100.0, 128.0
# Of a pod that requests nothing: where `podpower.model.prior` starts.
TYPICAL_W = CPU_USE * UNREQUESTED_CPU_MCPU / 1000.0 * CORE_W + UNREQUESTED_MEMORY_MIB / 1024.0 * MEMORY_W_PER_GIB

_CPU, _MEMORY, _LIMIT = (NUMERIC_COLUMNS.index(name) for name in ("req_cpu_mcpu", "req_mem_mib", "lim_cpu_mcpu"))


def physical_power_w(
    requests: Sequence[InferenceRequest], amounts: Sequence[Amounts] | None = None
) -> NDArray[np.float64]:
    """Return watts of one pod of each request, (n,), always above zero. `amounts` are those of `requests`."""
    if amounts is None:
        amounts = [amounts_of(request) for request in requests]
    return np.array([_pod_power_w(*each) for each in zip(requests, amounts, strict=True)], dtype=np.float64)


def _pod_power_w(request: InferenceRequest, amounts: Amounts) -> float:
    cpu_mcpu, memory_mib, limit_mcpu = amounts[_CPU], amounts[_MEMORY], amounts[_LIMIT]
    if isnan(cpu_mcpu):
        used_mcpu = _waiting_mcpu(UNREQUESTED_CPU_MCPU)
    elif controller_kind(request) == "Job":  # it computes with all that it requests
        used_mcpu = cpu_mcpu
    else:
        used_mcpu = _waiting_mcpu(cpu_mcpu)
    used_mcpu = min(used_mcpu, limit_mcpu)  # as it is where the limit is NaN
    if isnan(memory_mib):
        memory_mib = UNREQUESTED_MEMORY_MIB
    core_w = core_power_w(request.node_type) if request.node_type else CORE_W
    return used_mcpu / 1000.0 * core_w + memory_mib / 1024.0 * MEMORY_W_PER_GIB + _gpus_w(request)


def _waiting_mcpu(cpu_mcpu: float) -> float:
    """Return millicores in use of what a service requests."""
    return float(CPU_USE * REFERENCE_CPU_MCPU * (cpu_mcpu / REFERENCE_CPU_MCPU) ** USE_EXPONENT)


def _gpus_w(request: InferenceRequest) -> float:
    gpus = float(request.gpu_count) if request.gpus is None else request.gpus
    if not gpus:
        return 0.0
    limit_w = board_power_w(request.gpu_model)
    return gpus * (GPU_W if limit_w is None else GPU_USE * limit_w)


_MAX_CHARS = 64  # of a node type; what is cached must stay small
# How the three large clouds name what their machines compute with.
_PROCESSORS = (
    (
        re.compile(r"[a-z]+[0-9]+(?P<kind>[a-z]*)(-[a-z]+)?\.[a-z0-9-]+"),
        {"g": ARM_CORE_W, "a": AMD_CORE_W},
    ),  # m6g.large
    (re.compile(r"[a-z][0-9](?P<kind>[a-z]?)-[a-z]+[a-z0-9-]*"), {"a": ARM_CORE_W, "d": AMD_CORE_W}),  # t2d-standard-4
    (
        re.compile(r"standard_[a-z]+[0-9]+(-[0-9]+)?(?P<kind>[a-z]*)(_.*)?"),
        {"p": ARM_CORE_W, "a": AMD_CORE_W},
    ),  # D4as_v5
)


def core_power_w(node_type: str | None) -> float:
    """Return watts of a busy vCPU more than of an idle one, on a node of this type of AWS, Google Cloud or Azure.

    >>> core_power_w("m6g.large"), core_power_w("my-machine")
    (1.27, 2.76)
    """
    return _core_power_w((node_type or "")[:_MAX_CHARS].lower())


@lru_cache(maxsize=1 << 10)
def _core_power_w(node_type: str) -> float:
    for pattern, processors in _PROCESSORS:
        if named := pattern.fullmatch(node_type):
            named_w = (watts for letter, watts in processors.items() if letter in named["kind"])
            return round(next(named_w, INTEL_CORE_W), 2)
    return CORE_W
