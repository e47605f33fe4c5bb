"""What a pod should draw by its resources alone, before anything was measured.

    power = CPU in use x watts of a busy core + memory x watts of a GiB in use + GPUs x watts of a busy GPU

It knows nothing of the software, so it is rough: within a factor of ten, rarely of two. Models start from it where
they have no labels and learn from labels how far it is off (`podpower.model.prior`). The constants:

- 2.76 W a vCPU between idle and full load, 3.50 - 0.74 W, and 0.392 W a GB of memory: Cloud Carbon Footprint,
  "Methodology", appendix I, coefficients for AWS, https://www.cloudcarbonfootprint.org/docs/methodology/. Kepler's
  dynamic energy leaves the idle share to the node, so only the difference counts.
- 30 % of 100 requested millicores are in use: the median container uses about that share (49 % of containers use less),
  Datadog, "11 facts about real-world container use", 2020. Beyond, use grows with the square root of the request: large
  requests are mostly headroom. That exponent is ours, from one real cluster (docs/evaluation.md), and labels correct
  it.
- A twentieth of the memory's power is dynamic: DRAM refreshes whether it is used or not, which Kepler counts as idle.
- 100 W a GPU: boards of data centres are limited to 70 W (NVIDIA T4) to 400 W (A100 SXM), data sheets; in production
  most run at less than half of that: Weng et al., "MLaaS in the Wild", NSDI 2022.
- 100 millicores and 128 MiB stand in for requests that are absent: what the operators and exporters around a cluster
  mostly ask for.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podpower.features.columns import NUMERIC_COLUMNS, numeric_values
from podpower.specs.requests import InferenceRequest

CORE_W = 3.50 - 0.74
MEMORY_W_PER_GIB = 0.392 / 20
GPU_W = 100.0
CPU_USE, REFERENCE_CPU_MCPU, USE_EXPONENT = 0.3, 100.0, 0.5
UNREQUESTED_CPU_MCPU, UNREQUESTED_MEMORY_MIB = 100.0, 128.0
# Of a pod that requests nothing: where `podpower.model.prior` starts.
TYPICAL_W = CPU_USE * UNREQUESTED_CPU_MCPU / 1000.0 * CORE_W + UNREQUESTED_MEMORY_MIB / 1024.0 * MEMORY_W_PER_GIB

_CPU, _MEMORY, _GPUS = (NUMERIC_COLUMNS.index(name) for name in ("req_cpu_mcpu", "req_mem_mib", "gpus"))


def physical_power_w(requests: Sequence[InferenceRequest]) -> NDArray[np.float64]:
    """Watts of one pod of each request, (n,), always above zero."""
    values = np.expm1(numeric_values(requests).astype(np.float64))
    cpu_mcpu = np.where(np.isnan(values[:, _CPU]), UNREQUESTED_CPU_MCPU, values[:, _CPU])
    memory_mib = np.where(np.isnan(values[:, _MEMORY]), UNREQUESTED_MEMORY_MIB, values[:, _MEMORY])
    power_w: NDArray[np.float64] = (
        CPU_USE * REFERENCE_CPU_MCPU / 1000.0 * (cpu_mcpu / REFERENCE_CPU_MCPU) ** USE_EXPONENT * CORE_W
        + memory_mib / 1024.0 * MEMORY_W_PER_GIB
        + np.nan_to_num(values[:, _GPUS]) * GPU_W
    )
    return power_w
