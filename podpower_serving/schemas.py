"""Schemas of HTTP bodies beside predictions (podpower.model.predictor) and requests (podpower.specs.requests)."""

from typing import Any, Literal

import msgspec

from podpower.model.predictor import Prediction, Total
from podpower.specs.selection import Skipped


class RowError(msgspec.Struct, kw_only=True, frozen=True):
    """A row or document of a batch that could not be read; `index` counts from 0, `detail` is the correction."""

    index: int
    detail: str


class Batch(msgspec.Struct, kw_only=True, frozen=True):
    """Predictions in the order of the input, skipped objects with the reason, errors, and the sums."""

    predictions: list[Prediction]
    skipped: list[Skipped]
    errors: list[RowError]
    total: Total


class RefusedModel(msgspec.Struct, kw_only=True, frozen=True):
    """A model that cannot be served. `version` is null when its name could not be read."""

    version: str | None
    detail: str
    at: str


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


class Health(msgspec.Struct, kw_only=True, frozen=True):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, kw_only=True, frozen=True):
    """A model is loaded."""

    model_version: str
    status: Literal["ready"] = "ready"


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """A problem (RFC 9457): `detail` names the field and what would be right."""

    status: int
    title: str
    detail: str
    instance: str | None = None
    type: str = "about:blank"
