"""The wall clock without its short jumps ahead, as of a time server that answers wrong."""

import time
from collections.abc import Callable
from typing import Final

_JUMP_S: Final = 60.0
_HELD_S: Final = 600.0  # a jump that lasts longer is followed
_FASTEST: Final = 20.0  # a clock that only runs fast, as a simulated one does, has not jumped


def _since_boot_s() -> float:
    """Return the seconds since the machine started, with its sleep where the system counts that."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """Gives Unix seconds. A wall clock that jumps ahead between two readings is not followed for ten minutes."""

    def __init__(self, *, elapsed_s: Callable[[], float] = _since_boot_s) -> None:
        self._elapsed_s = elapsed_s
        self._read_s, self._time_s = elapsed_s(), time.time()
        self._held_since_s: float | None = None

    def __call__(self) -> float:
        """Return the time."""
        elapsed_s, wall_s = self._elapsed_s(), time.time()
        passed_s = elapsed_s - self._read_s
        if wall_s - self._time_s > _JUMP_S + _FASTEST * passed_s:
            if self._held_since_s is None:
                self._held_since_s = elapsed_s
            if elapsed_s - self._held_since_s < _HELD_S:
                wall_s = self._time_s + passed_s
            else:
                self._held_since_s = None
        else:
            self._held_since_s = None
        self._read_s, self._time_s = elapsed_s, wall_s
        return wall_s
