"""Locks between processes. A lock ends with the process that holds it, killed or not."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.errors import PodpowerError, Unavailable

if TYPE_CHECKING:
    import filelock

WAIT_SECONDS = 600.0  # for one change of a store


def lock(path: Path, *, wait_seconds: float = 0.0, busy: str) -> "filelock.BaseFileLock":
    """Lock the file at `path`, made if needed and never changed; release the result, or use it with `with`.

    Unavailable with the message `busy` when another process holds it for longer than `wait_seconds`, PodpowerError when
    the file cannot be locked.
    """
    import filelock  # noqa: PLC0415  # which most commands do not need

    # Each call locks by itself, also in one process; a lock file is never a link, so links are resolved here.
    held = filelock.FileLock(os.path.realpath(path), timeout=wait_seconds, thread_local=False)
    try:
        held.acquire()
    except filelock.Timeout:
        raise Unavailable(busy) from None
    except OSError as error:
        raise PodpowerError(f"cannot lock {path}: {error.strerror or error}") from error
    return held
