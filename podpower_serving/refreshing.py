"""Repeated looks at files that others change, off the event loop. A disk or mount that does not answer delays nothing
but the look at it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from podpower_serving.worker_threads import PatientThread

T = TypeVar("T")

SLOW_SECONDS: Final = 30.0  # after which files are reported that do not answer
GIVE_UP_SECONDS: Final = 300.0  # after which another thread looks: what hangs in a broken mount never returns
NO_ANSWER: Final = "its source does not answer: is its disk, its mount or its network there?"
_MOST_HANGING: Final = 8  # threads; beyond, one of them has to return first

_log = logging.getLogger("podpower.serving")


class Files(Protocol[T]):
    """Something that is read from files."""

    def look(self) -> T:
        """Read the files, which takes as long as their disk does. Changes nothing."""

    def take(self, seen: T) -> None:
        """Use what `look` returned."""

    def refuse(self, detail: str) -> None:
        """Report why there is nothing to use; what was read before stays."""


class PatientLook(Generic[T]):
    """Looks at files in a thread of its own. What was given up changes nothing when it returns."""

    def __init__(
        self,
        files: Files[T],
        *,
        name: str,
        slow_seconds: float = SLOW_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        """`name` is what the files are, and that of the thread. Files that do not answer are reported after
        `slow_seconds`, and looked at by another thread after `give_up_seconds`.
        """
        self.name, self._files = name, files
        self._thread = PatientThread(name)
        self._slow_seconds, self._give_up_seconds = slow_seconds, give_up_seconds
        self._looking: asyncio.Future[None] | None = None
        self._turn = 0  # of the look that may change anything
        self._turns = threading.Lock()
        self._began = 0.0

    @property
    def hanging(self) -> int:
        """The number of looks that were given up and have not returned."""
        return self._thread.hanging

    async def refresh(self) -> bool:
        """Look and take, always in the same thread. Return False when the files do not answer: they are waited for by
        the next call.
        """
        if self._looking is None:
            turn, self._began = self._turn, time.monotonic()
            self._looking = self._thread.run(lambda: self._refresh(turn))
        looking = self._looking
        await asyncio.wait({looking}, timeout=self._slow_seconds)
        if looking.done():
            self._looking = None
            looking.result()
            return True
        self._files.refuse(NO_ANSWER)
        if time.monotonic() - self._began >= self._give_up_seconds and self.hanging < _MOST_HANGING:
            with self._turns:
                self._turn += 1
            self._thread.give_up()
            self._looking = None
        return False

    def _refresh(self, turn: int) -> None:
        seen = self._files.look()
        with self._turns:
            if turn == self._turn:
                self._files.take(seen)


async def repeated(refresh: Callable[[], Awaitable[object]], *, name: str, every_seconds: float) -> None:
    """Call `refresh` again and again; `name` is what it reads."""
    while True:
        await asyncio.sleep(every_seconds)
        await attempted(refresh, name=name)


async def attempted(refresh: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Call `refresh`; log an exception instead of raising it."""
    try:
        await refresh()
    except Exception:  # the service must survive every error of a file or store
        _log.exception("%s could not be read again; what was read before stays", name)
