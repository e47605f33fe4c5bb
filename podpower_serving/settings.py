"""Settings of the service, passed in by the program that starts it."""

from dataclasses import dataclass
from typing import Self

from podpower import settings


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
        )
