"""One writer for each journal: a lock on a folder, the sequence of flushes on an object store."""

import time

import filelock

from podpower.errors import Unavailable
from podpower.io.locks import lock
from podpower.io.retries import Note
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import Header, decode_part, flush_name

LOCK = "journal.lock"
_FORGOTTEN_S = 600.0  # a writer that wrote nothing for so long has ended
_SLOW_S = 2.0  # of a flush
_LOOK_S = 1.0


class Locked(Unavailable):
    """Another process writes the journal."""

    def __init__(self, files: JournalFiles) -> None:
        super().__init__(
            f"{files} is being written by another process: stop that `podpower collect watch`, or let it go on alone"
        )


def locked(files: JournalFiles) -> filelock.BaseFileLock | None:
    """Lock the folder of a journal; None on an object store, which knows no locks."""
    if files.folder is None:
        return None
    files.folder.mkdir(parents=True, exist_ok=True)
    try:
        return lock(files.folder / LOCK, busy="busy")
    except Unavailable:
        raise Locked(files) from None


def await_silence(files: JournalFiles, *, note: Note) -> None:
    """Wait until the last writer of a journal on an object store has surely ended; Locked when it still writes.

    A writer promises in each flush when the next one comes, and marks its last one when it ends in order.
    """
    if files.folder is not None:
        return
    before = newest_flush(files)
    header = _header(files, before)
    if header is None or header.closed or time.time() - header.reached_s > _FORGOTTEN_S:
        return
    wait_s = 1.5 * header.quiet_s + _SLOW_S
    note(f"{files}: the last writer did not end in order; waiting {wait_s:.0f} s for a sign of it")
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        time.sleep(min(_LOOK_S, 0.1 * wait_s))
        if newest_flush(files) != before:
            raise Locked(files)


def newest_flush(files: JournalFiles) -> int:
    """Return the sequence of the newest flush, 0 where there is none."""
    return max(files.flushes(), default=0)


def _header(files: JournalFiles, sequence: int) -> Header | None:
    name = flush_name(sequence)
    data = files.read(name)
    return None if data is None else decode_part(name, data, damaged=[]).header
