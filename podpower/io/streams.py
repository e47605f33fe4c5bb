"""Devices, pipes and sockets in the place of files."""

import stat
from pathlib import Path

from podpower.errors import Refused


def is_stream(path: Path) -> bool:
    """Return True if the path is a device, pipe or socket, which is written to and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_no_stream(path: Path) -> None:
    """Return if a file is no device, pipe or socket, where a reader waits for a writer. Refused where it is one."""
    if is_stream(path):
        raise Refused(f"{path} is a pipe, a socket or a device: put a file there")
