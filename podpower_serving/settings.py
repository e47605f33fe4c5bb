"""What the service is told from outside. Read from the environment once, by who starts it, and passed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from podpower.errors import InvalidInput

ENCODER_PATH: Final = "ENCODER_PATH"
MODEL_PATH: Final = "MODEL_PATH"
MODEL_STORE: Final = "PODPOWER_MODEL_STORE"
HOME: Final = "PODPOWER_HOME"
MAX_BODY_MIB: Final = "PODPOWER_MAX_BODY_MIB"
RELOAD_SECONDS: Final = "PODPOWER_RELOAD_SECONDS"

DEFAULT_HOME: Final = ".podpower"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`encoder_path` and `model_path` (both or none) are served if given, else the latest model of `model_store`.

    Bodies beyond `max_body_bytes` are refused. Every `reload_seconds` the service looks for another model.
    """

    encoder_path: str | None = None
    model_path: str | None = None
    model_store: str = f"{DEFAULT_HOME}/models"
    max_body_bytes: int = 8 << 20
    max_batch_rows: int = 10_000
    reload_seconds: float = 2.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings in environment variables; empty is as good as absent. InvalidInput names the variable."""
        encoder_path, model_path = environment.get(ENCODER_PATH) or None, environment.get(MODEL_PATH) or None
        if (encoder_path is None) != (model_path is None):
            given, absent = (ENCODER_PATH, MODEL_PATH) if encoder_path else (MODEL_PATH, ENCODER_PATH)
            raise InvalidInput(f"{given} is set and {absent} is not: set both, or neither to serve from {MODEL_STORE}")
        home = environment.get(HOME) or DEFAULT_HOME
        return cls(
            encoder_path=encoder_path,
            model_path=model_path,
            model_store=environment.get(MODEL_STORE) or f"{home}/models",
            max_body_bytes=int(_number(environment, MAX_BODY_MIB, default=8, most=1024) * (1 << 20)),
            reload_seconds=_number(environment, RELOAD_SECONDS, default=2, most=3600),
        )


def _number(environment: Mapping[str, str], name: str, *, default: float, most: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise InvalidInput(f"{name}={text}: write a number above 0 and up to {most:g}")
    return value
