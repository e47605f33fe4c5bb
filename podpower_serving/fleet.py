"""The fleet summary that the service shows, read again when it is old."""

import logging
import threading
import time
from typing import Final

from podpower.errors import PodpowerError
from podpower.fleet.summary import FleetSummary, read_summary
from podpower.io.places import AnyPath
from podpower_serving.refreshing import NO_ANSWER

_KEPT_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 2.0  # for a look at the store; a hung mount would take all threads that wait for it

_log = logging.getLogger("podpower.serving")


class Fleet:
    """The summary beside the models. A summary that cannot be read changes nothing: its age shows it."""

    def __init__(self, root: AnyPath) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._summary: FleetSummary | None = None
        self._read_s = float("-inf")
        self._reading: threading.Event | None = None
        self.problem: str | None = None

    def summary(self) -> FleetSummary | None:
        """Return the summary, at most some seconds old; None before the first one. Reads files: not for the event loop.

        `problem` is the reason why the latest one could not be read. A store that does not answer is waited for by a
        thread of its own, which delays neither others nor the end of the process.
        """
        with self._lock:
            if self._reading is None and time.monotonic() - self._read_s > _KEPT_SECONDS:
                self._reading = threading.Event()
                threading.Thread(target=self._read, args=(self._reading,), name="fleet", daemon=True).start()
            reading = self._reading
        if reading is not None and not reading.wait(_PATIENCE_SECONDS):
            self.problem = NO_ANSWER
        return self._summary

    def _read(self, reading: threading.Event) -> None:
        try:
            self._summary = read_summary(self._root) or self._summary
            self.problem = None
        except PodpowerError as error:
            self.problem = str(error)
        except Exception as error:  # the next look may find something else
            self.problem = repr(error)
            _log.exception("the fleet summary cannot be read")
        finally:
            with self._lock:
                self._reading, self._read_s = None, time.monotonic()
            reading.set()
