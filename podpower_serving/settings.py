"""Settings of the service, passed in by the program that starts it."""

from dataclasses import dataclass
from typing import Self

from podpower import settings
from podpower_serving.protocol import Bounds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`encoder_path` and `model_path` (both or none) are served if given, else the latest model of `model_store`.

    Bodies beyond `max_body_bytes` are refused. The service looks for another model every `reload_seconds`.
    """

    encoder_path: str | None = None
    model_path: str | None = None
    model_store: str = f"{settings.DEFAULT_HOME}/models"
    max_body_bytes: int = int(settings.MAX_BODY_MIB * (1 << 20))
    max_batch_rows: int = 10_000
    reload_seconds: float = settings.RELOAD_SECONDS
    header_timeout_seconds: float = settings.HEADER_TIMEOUT_SECONDS
    body_timeout_seconds: float = settings.BODY_TIMEOUT_SECONDS
    max_connections: int = settings.MAX_CONNECTIONS
    drain_seconds: float = settings.DRAIN_SECONDS

    def bounds(self) -> Bounds:
        """Return the bounds of connections."""
        return Bounds(
            header_timeout_seconds=self.header_timeout_seconds,
            body_timeout_seconds=self.body_timeout_seconds,
            connections=self.max_connections,
        )

    @classmethod
    def of(cls, given: settings.Settings) -> Self:
        """Return the service's part of the settings of this process. InvalidInput names a variable with a bad value."""
        encoder_path, model_path = given.places.artifacts or (None, None)
        return cls(
            encoder_path=encoder_path,
            model_path=model_path,
            model_store=given.places.model_store,
            max_body_bytes=int(given.service.max_body_mib * (1 << 20)),
            reload_seconds=given.service.reload_seconds,
            header_timeout_seconds=given.service.header_timeout_seconds,
            body_timeout_seconds=given.service.body_timeout_seconds,
            max_connections=given.service.max_connections,
            drain_seconds=given.service.drain_seconds,
        )
