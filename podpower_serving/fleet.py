"""The fleet summary that the service shows, read again when it is old."""

import threading
import time
from collections.abc import Callable

from podpower.errors import PodpowerError
from podpower.fleet.summary import FleetSummary, read_summary
from podpower.io.places import AnyPath

_KEPT_SECONDS = 15.0


class Fleet:
    """The summary beside the models. A summary that cannot be read changes nothing: its age shows it."""

    def __init__(self, root: AnyPath, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._lock = threading.Lock()
        self._summary: FleetSummary | None = None
        self._read_s = float("-inf")
        self.problem: str | None = None

    def summary(self) -> FleetSummary | None:
        """Return the summary, at most some seconds old; None before the first one. Reads files: not for the event loop.

        `problem` is the reason why the latest one could not be read.
        """
        with self._lock:
            if self._clock() - self._read_s > _KEPT_SECONDS:
                self._read_s = self._clock()
                try:
                    self._summary = read_summary(self._root) or self._summary
                    self.problem = None
                except PodpowerError as error:
                    self.problem = str(error)
            return self._summary
