"""Parts of files while they are written, and the removal of those whose writer has died.

A part is locked as long as its writer lives, so that a killed writer's is known by its free lock.
"""

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".part"
_FRESH_S: Final = 5.0  # between making a part and locking it
_UNLOCKED_S: Final = 86_400.0  # after which a part is a dead writer's where the file system has no locks
_MODE: Final = 0o666  # less the umask
_MOST_NAME = 200  # characters of the name, so that the part's fits too


@contextlib.contextmanager
def part_of(target: Path) -> Iterator[Path]:
    """Make a file beside `target`, its folder if needed, and remove it at the end; parts that killed writers of the
    same file left are removed too. Modes follow the umask.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name[:_MOST_NAME]}."
    _remove_dead(found for found in _parts(target.parent) if found.name.startswith(prefix))
    part = target.with_name(f"{prefix}{uuid.uuid4().hex[:8]}{_SUFFIX}")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(descriptor)


def remove_leftovers(root: Path) -> list[Path]:
    """Remove what killed writers left below a local folder, and return it."""
    folders = (Path(folder) for folder, _, _ in os.walk(root))
    return _remove_dead(part for folder in folders for part in _parts(folder))


def _parts(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
        return [folder / name for name in names if name.startswith(".") and name.endswith(_SUFFIX)]
    return []


def _remove_dead(parts: Iterable[Path]) -> list[Path]:
    removed = []
    for part in parts:
        with contextlib.suppress(OSError):  # its writer was quicker, or it belongs to somebody else
            age_s = time.time() - part.stat().st_mtime
            if age_s > _FRESH_S and not _is_locked(part, otherwise=age_s < _UNLOCKED_S):
                part.unlink()
                removed.append(part)
    return removed


def _is_locked(part: Path, *, otherwise: bool) -> bool:
    """Return True if the writer holds the lock; `otherwise` where the file system has no locks."""
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return otherwise
    finally:
        os.close(descriptor)
    return False
