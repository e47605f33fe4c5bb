"""A process that outlives its parent and stops the parent's children: the cleanup that kill -9 of the parent skips.

`supervisor` runs this file by its path and writes one line to its standard input for each process group: `+PGID` when
it starts, `-PGID` when it has been stopped. The end of the input means that the parent is gone, however it ended.
Imports nothing of podpower, so that it starts at once.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.1


def remaining_groups(lines: Iterable[str]) -> list[int]:
    """Return the groups that were started and not stopped when the input ends."""
    groups: dict[int, None] = {}
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups[group] = None
        else:
            groups.pop(group, None)
    return list(groups)


def stop_groups(groups: Iterable[int]) -> None:
    """Terminate process groups; kill what is left after a few seconds."""
    living = [group for group in groups if _signal(group, signal.SIGTERM)]
    deadline = time.monotonic() + _STOP_SECONDS
    while living and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        living = [group for group in living if _signal(group, 0)]
    for group in living:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal (0: none); return whether the group had a process to receive it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    stop_groups(remaining_groups(sys.stdin))
