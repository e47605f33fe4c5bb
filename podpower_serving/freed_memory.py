"""Freed memory, kept for the next batch: what is returned to the kernel is cleared page by page when it is used again,
which takes a tenth of the CPU time of a batch.
"""

from typing import Final

from podpower.io import heap

KEPT_BYTES: Final = 32 << 20  # at the end of each of malloc's arenas
_MAPPED_BYTES: Final = 16 << 20  # arrays from this size on are mapped, and returned when they are freed


def keep_freed() -> bool:
    """Keep what this process frees, up to KEPT_BYTES; return False where its C library has no such setting."""
    return heap.configure({heap.TRIM_THRESHOLD: KEPT_BYTES, heap.MMAP_THRESHOLD: _MAPPED_BYTES})
