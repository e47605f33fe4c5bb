"""The served model, followed by the service: counted, and looked for off the event loop."""

import time
from collections.abc import Callable

from podpower.registry import newest
from podpower.registry.newest import NewestModel, Source
from podpower_serving.metrics import REFUSED, RELOADS, Metrics
from podpower_serving.refreshing import GIVE_UP_SECONDS, SLOW_SECONDS, PatientLook
from podpower_serving.settings import Settings


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
        self._patient = PatientLook(self, name="models", slow_seconds=slow_seconds, give_up_seconds=give_up_seconds)

    async def load(self) -> None:
        """Call `refresh` off the event loop, always in the same thread. Returns when the source does not answer: it is
        waited for by the next call, and what is served stays.
        """
        await self._patient.refresh()

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
