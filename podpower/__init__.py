"""Know what a Kubernetes workload will draw before it runs: the pipeline as plain functions.

Nothing in this package knows Dagster or Litestar. Data walks one way:
`sources` -> `specs` -> `features`; `sources` -> `labels`; both -> `datasets` -> `training` -> `model` -> `registry`.
docs/explanation/architecture.md is the map. Other programs call podpower by the names below, which are imported when
they are first used (docs/how-to/call-from-code.md).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podpower.client.answers import Batch
    from podpower.client.calls import ClientClosed, RequestRefused, UnknownAnswer
    from podpower.client.http import AsyncClient, Client
    from podpower.client.in_process import Predictor
    from podpower.errors import InvalidInput, PodpowerError, Refused, Unavailable
    from podpower.model.predictor import Explanation, Prediction
    from podpower.registry.description import ModelInfo
    from podpower.specs.requests import Container, InferenceRequest

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "ClientClosed",
    "Container",
    "Explanation",
    "InferenceRequest",
    "InvalidInput",
    "ModelInfo",
    "PodpowerError",
    "Prediction",
    "Predictor",
    "Refused",
    "RequestRefused",
    "Unavailable",
    "UnknownAnswer",
    "__version__",
]
_PLACES = {
    "AsyncClient": "podpower.client.http",
    "Batch": "podpower.client.answers",
    "Client": "podpower.client.http",
    "ClientClosed": "podpower.client.calls",
    "Container": "podpower.specs.requests",
    "Explanation": "podpower.model.predictor",
    "InferenceRequest": "podpower.specs.requests",
    "InvalidInput": "podpower.errors",
    "ModelInfo": "podpower.registry.description",
    "PodpowerError": "podpower.errors",
    "Prediction": "podpower.model.predictor",
    "Predictor": "podpower.client.in_process",
    "Refused": "podpower.errors",
    "RequestRefused": "podpower.client.calls",
    "Unavailable": "podpower.errors",
    "UnknownAnswer": "podpower.client.calls",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import podpower` itself loads nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_PLACES[name]), name)
    except ModuleNotFoundError as error:
        if error.name in {"httpx", "stamina"}:
            from podpower.extras import how_to_install  # noqa: PLC0415

            raise ImportError(f"podpower.{name} needs {error.name}: {how_to_install('client')}") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the module, those to be imported too."""
    return sorted({*globals(), *__all__})
