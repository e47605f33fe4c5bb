"""The description of a model, in process and over HTTP."""

from typing import Any

import msgspec

from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.predictor import Predictor
from podpower.registry.newest import RefusedModel


class ModelInfo(msgspec.Struct, kw_only=True, frozen=True):
    """The served model. Joules are per step of `step_seconds`; `refused` is a newer model that cannot be served."""

    version: str
    target: str
    step_seconds: float
    energy: str | None
    trained_at: str
    training_size: dict[str, int]
    metrics: dict[str, Any]
    interval_level: float
    interval_levels: list[float]
    encoder_fingerprint: str
    text_encoder: str
    spec_hash_version: int
    notes: list[str]
    refused: RefusedModel | None


def model_info(predictor: Predictor, *, refused: RefusedModel | None = None) -> ModelInfo:
    """Return the description of a predictor's model."""
    model = predictor.model
    return ModelInfo(
        version=predictor.version,
        target=model.target,
        step_seconds=model.step_seconds,
        energy=model.energy,
        trained_at=model.trained_at,
        training_size=model.training_size,
        metrics=model.metrics,
        interval_level=DEFAULT_LEVEL,
        interval_levels=list(model.intervals.levels),
        encoder_fingerprint=model.encoder_fingerprint,
        text_encoder=predictor.encoder.text,
        spec_hash_version=model.spec_hash_version,
        notes=list(model.notes),
        refused=refused,
    )
