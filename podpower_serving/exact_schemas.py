"""Schemas of bodies and answers, made from the types that read and write them, with their bounds.

The framework describes types, too, and leaves out tuples, patterns and bounds of optional fields.
"""

from functools import cache
from typing import Any, Final

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import OpenAPI

from podpower.client.answers import Batch
from podpower.model.predictor import Explanation
from podpower.registry.description import ModelInfo
from podpower.specs.requests import InferenceRequest
from podpower_serving.schemas import Health, Problem, Readiness

_TYPES: Final = (InferenceRequest, Batch, Explanation, Health, ModelInfo, Problem, Readiness)
_REQUEST: Final = InferenceRequest.__name__
# Readers take null for the default of these, since requests of other systems have it.
_NULLABLE: Final = frozenset(
    {"labels", "annotations", "volume_types", "init_container_count", "sidecar_count", "gpu_count", "namespace"}
)
_FORMATS: Final = {"schedule": "cron", "time_zone": "time-zone"}

Document = dict[str, Any]


class ExactConfig(OpenAPIConfig):
    """Configuration of a document whose schemas are exact."""

    def to_openapi_schema(self) -> OpenAPI:
        """Return the document, to which the framework adds paths."""
        given = super().to_openapi_schema()
        return _Exact(**{name: getattr(given, name) for name in OpenAPI.__dataclass_fields__})


class _Exact(OpenAPI):
    def to_schema(self) -> Document:
        document = super().to_schema()
        schemas = document.get("components", {}).get("schemas", {})
        exact = _schemas()
        used = set(schemas)
        while missing := _named({name: exact[name] for name in used if name in exact}) - used:
            used |= missing
        schemas.update({name: exact[name] for name in sorted(used) if name in exact})
        return document


@cache
def _schemas() -> Document:
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    request = schemas[_REQUEST]["properties"]
    for name in _NULLABLE:
        default = request[name].pop("default", None)
        request[name] = {"anyOf": [request[name], {"type": "null"}], "default": default}
    for name, form in _FORMATS.items():
        for kind in request[name]["anyOf"]:
            if kind["type"] == "string":
                kind["format"] = form
    return schemas


def _named(value: Any) -> set[str]:
    """Return the names of the schemas that a schema refers to."""
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_named, value.values()))
    return set().union(*map(_named, value)) if isinstance(value, list) else set()
