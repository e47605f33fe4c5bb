"""Requests that are valid and hardly meant: `cpu: 250` is 250 CPUs, `memory: 128` is 128 bytes."""

from collections.abc import Iterator
from typing import Final

from podpower.specs.quoting import quoted
from podpower.specs.requests import InferenceRequest

MOST_CPU_MCPU: Final = 64_000.0  # of one container; larger ones exist on few machines
LEAST_MEMORY_MIB: Final = 1.0


def surprises(request: InferenceRequest) -> Iterator[str]:
    """Yield a note for each container whose request or limit is probably a missing suffix."""
    for container in request.containers:
        for what, mcpu in (("requests", container.req_cpu_mcpu), ("is limited to", container.lim_cpu_mcpu)):
            if mcpu is not None and mcpu > MOST_CPU_MCPU:
                name, cpus = quoted(container.name or "?"), mcpu / 1000.0
                yield f"container {name} {what} {cpus:g} CPUs: if {cpus:g} millicores are meant, write {cpus:g}m"
                break
        for what, mib in (("requests", container.req_mem_mib), ("is limited to", container.lim_mem_mib)):
            if mib is not None and 0 < mib < LEAST_MEMORY_MIB:
                name, amount = quoted(container.name or "?"), mib * (1 << 20)
                yield f"container {name} {what} {amount:g} bytes of memory: if MiB are meant, write e.g. {amount:g}Mi"
                break
