"""The heap of glibc, for memory that Python and numpy allocate; other C libraries are left as they are.

Polars allocates by a library of its own, which the environment configures (`podpower.settings.give_back_memory`).
"""

import ctypes
from collections.abc import Mapping
from typing import Final

TRIM_THRESHOLD: Final = -1  # parameters of mallopt
MMAP_THRESHOLD: Final = -3
ARENA_MAX: Final = -8

# One arena, whatever the threads, since each keeps what is freed in it; arrays from 1 MiB on are returned when freed.
_SMALL: Final = {ARENA_MAX: 1, MMAP_THRESHOLD: 1 << 20, TRIM_THRESHOLD: 4 << 20}

_FREE: Final = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 128 << 20}


def configure(options: Mapping[int, int]) -> bool:
    """Set parameters of malloc; return False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    set_all = [mallopt(option, value) for option, value in options.items()]
    return all(set_all)


def keep_free() -> bool:
    """Keep freed memory for the next arrays, which saves the time of getting it page by page; return False as
    `configure`. `keep_small` undoes it.
    """
    return configure(_FREE)


def keep_small() -> bool:
    """Return freed memory to the system soon, which takes CPU time; return False as `configure`."""
    return configure(_SMALL)


def trim() -> None:
    """Return what is free in the heap to the system."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
