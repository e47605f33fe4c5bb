"""The served model, followed by the service: counted, and looked for off the event loop."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from podpower.registry import newest
from podpower.registry.newest import FileSource, NewestModel, Source, StoreSource
from podpower_serving.metrics import REFUSED, RELOADS, Metrics
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import PatientThread

__all__ = ["FileSource", "Served", "Source", "StoreSource", "source_of"]

SLOW_SECONDS: Final = 30.0  # after which a source is reported that has not answered
GIVE_UP_SECONDS: Final = 300.0  # after which another thread looks: what hangs in a broken mount never returns
_MOST_HANGING: Final = 8  # threads; beyond, one of them has to return first

_log = logging.getLogger("podpower.serving")


class Served(NewestModel):
    """The one reference to the served model, and the newer model that was refused, if any."""

    def __init__(
        self,
        source: Source,
        *,
        after_load: Callable[[], None] | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        slow_seconds: float = SLOW_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        """`after_load` is called after each new model; `metrics` count loaded and refused ones. A source that does not
        answer is reported after `slow_seconds`, and looked at by another thread after `give_up_seconds`.
        """
        super().__init__(source, clock=clock)
        self._metrics = metrics or Metrics()
        self._after_load = after_load or (lambda: None)
        # One thread for all models, so that a new one takes the memory that the replaced one has left: other threads
        # have other arenas.
        self._thread = PatientThread("models")
        self._slow_seconds, self._give_up_seconds = slow_seconds, give_up_seconds
        self._looking: asyncio.Future[None] | None = None
        self._turn = 0  # of the look that may change anything
        self._turns = threading.Lock()
        self._began = 0.0

    async def load(self) -> None:
        """Call `refresh` off the event loop, always in the same thread. Returns when the source does not answer: it is
        waited for by the next call, and what is served stays.
        """
        if self._looking is None:
            turn, self._began = self._turn, time.monotonic()
            self._looking = self._thread.run(lambda: self._refresh(turn))
        looking = self._looking
        await asyncio.wait({looking}, timeout=self._slow_seconds)
        if looking.done():
            self._looking = None
            looking.result()
            return
        self._refuse(None, "its source does not answer: is its disk, its mount or its network there?")
        if time.monotonic() - self._began >= self._give_up_seconds and self._thread.hanging < _MOST_HANGING:
            with self._turns:
                self._turn += 1
            self._thread.give_up()
            self._looking = None

    def _refresh(self, turn: int) -> None:
        seen = self._look()
        with self._turns:  # what was given up changes nothing when it returns
            if turn == self._turn:
                self._take(seen)

    async def follow(self, *, every_seconds: float) -> None:
        """Call `refresh` repeatedly, off the event loop."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self.load()
            except Exception:  # the task must survive every error of a store
                _log.exception("reading the model source failed; the current model stays")

    def on_load(self) -> None:
        """Count a new model."""
        self._after_load()
        self._metrics.add(RELOADS)

    def on_refusal(self) -> None:
        """Count a refused model."""
        self._metrics.add(REFUSED)


def source_of(settings: Settings) -> Source:
    """Return the source that `settings` name."""
    return newest.source_of(
        encoder_path=settings.encoder_path, model_path=settings.model_path, model_store=settings.model_store
    )
