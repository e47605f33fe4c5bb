"""Schemas of HTTP bodies of the service itself. Those that clients share are in podpower.client.answers,
podpower.model.predictor, podpower.registry.description and podpower.specs.requests.
"""

from typing import Literal

import msgspec


class Health(msgspec.Struct, kw_only=True, frozen=True):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, kw_only=True, frozen=True):
    """A model is loaded."""

    model_version: str
    status: Literal["ready"] = "ready"


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """A problem (RFC 9457): `detail` names the field and what would be right, `request_id` finds it in the log."""

    status: int
    title: str
    detail: str
    instance: str | None = None
    request_id: str | None = None
    type: str = "about:blank"
