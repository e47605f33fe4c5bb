"""OpenAPI document and Swagger UI, whose files are part of the installation: no internet is needed."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.openapi import ResponseSpec
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema
from litestar.params import FromPath
from litestar.response import File

from podpower import __version__
from podpower.impact.carbon import MOST_G_PER_KWH
from podpower.impact.parameters import PARAMETERS
from podpower.impact.rates import CURRENCY, MOST_PRICE, MOST_PUE
from podpower.impact.scope import MOST_IDLE_W, SCOPES
from podpower.kubernetes.limits import MAX_NODES
from podpower_serving import bodies as parsers
from podpower_serving.errors import PROBLEM_JSON
from podpower_serving.exact_schemas import ExactConfig
from podpower_serving.schemas import Problem

_DOCUMENT: Final = "openapi_document"
_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

REQUEST_EXAMPLE: Final = {
    "namespace": "default",
    "workload_kind": "Deployment",
    "workload_name": "web",
    "replicas": 2,
    "containers": [{"name": "web", "image": "nginx:1.27", "req_cpu_mcpu": 250, "req_mem_mib": 256}],
}
MANIFEST_EXAMPLE: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: nginx:1.27
          resources: {requests: {cpu: 250m, memory: 256Mi}}
"""

_MEANING: Final = {
    400: "The body cannot be read",
    404: "There is no such thing, or it is damaged",
    413: "The body is too large",
    415: "The body is of another media type",
    422: "The body can be read and is wrong",
    503: "There is no model yet",
}
_RESPONSES: Final = {
    status: ResponseSpec(Problem, generate_examples=False, description=meaning, media_type=PROBLEM_JSON)
    for status, meaning in _MEANING.items()
}
PROBLEMS: Final = {status: response for status, response in _RESPONSES.items() if status != 404}
NOT_FOUND: Final = {404: _RESPONSES[404]}
NOT_CHANGED: Final = {304: ResponseSpec(None, description="The client has it already", media_type=MediaType.JSON)}
NOT_READY: Final = {503: _RESPONSES[503]}


_OPTIONS: Final = (
    ("nodes", "integer", "number of pods of a DaemonSet whose status has none"),
    ("lenient", "boolean", "read objects with misspelt fields as if these were absent"),
    ("cluster", "string", "cluster of the workloads that name none"),
    ("node_type", "string", "machine type of the workloads that name none"),
)


_NAME: Final[dict[str, Any]] = {"max_length": parsers.MAX_NAME, "format": "plain-name"}
_QUERY_BOUNDS: Final[dict[str, dict[str, Any]]] = {
    "nodes": {"minimum": 0, "maximum": MAX_NODES},
    "cluster": _NAME,
    "node_type": _NAME,
    "price": {"minimum": 0, "maximum": MOST_PRICE},
    "currency": {"pattern": f"^(?:{CURRENCY.pattern})$"},
    "pue": {"minimum": 1, "maximum": MOST_PUE},
    "carbon": {"minimum": 0, "maximum": MOST_G_PER_KWH},
    "scope": {"enum": list(SCOPES)},
    "idle_w_per_vcpu": {"minimum": 0, "maximum": MOST_IDLE_W},
}


def takes(
    bodies: Mapping[str, tuple[Any, Any]], *, options: bool = False, impact: bool = False, required: bool = True
) -> type[Operation]:
    """Return an operation whose body is described by media type: (schema, example).

    `options` adds the query parameters that control how manifests are read, `impact` those of price, carbon and scope.
    """
    parameters = [
        Parameter(name=name, param_in="query", description=text, schema=_query_schema(name, kind))
        for name, kind, text in (*(_OPTIONS if options else ()), *(PARAMETERS if impact else ()))
    ]
    content = {name: OpenAPIMediaType(schema=schema, example=example) for name, (schema, example) in bodies.items()}

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=required)
            self.parameters = [*(self.parameters or ()), *parameters] or None

    return Described


def _query_schema(name: str, kind: str) -> Schema:
    """Return the schema of a query parameter with the bounds that its parser has."""
    return Schema(type=OpenAPIType(kind), **_QUERY_BOUNDS.get(name, {}))


def manifest_types(names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Describe a body of manifests, by media type."""
    return {name: (Schema(type="string"), MANIFEST_EXAMPLE) for name in names}  # type: ignore[arg-type]


def config() -> ExactConfig:
    """Return the configuration of /openapi.json and /docs."""
    assets = "/docs/assets"
    return ExactConfig(
        title="podpower",
        version=__version__,
        description="Predict the power of a Kubernetes workload before it runs. Watts and joules are for one pod, "
        "totals for all replicas.",
        path="/docs",
        use_handler_docstrings=True,
        render_plugins=[
            SwaggerRenderPlugin(
                path="/",
                js_url=f"{assets}/swagger-ui-bundle.js",
                standalone_preset_js_url=f"{assets}/swagger-ui-standalone-preset.js",
                css_url=f"{assets}/swagger-ui.css",
                favicon=f'<link rel="icon" type="image/png" href="{assets}/favicon-32x32.png">',
            ),
        ],
    )


def make_document(app: Litestar) -> None:
    """Make the OpenAPI document, for /openapi.json and /docs: 50 ms that no request has to wait for."""
    plugin: Any = app.plugins.get("OpenAPIPlugin")  # keeps it for /docs
    app.state[_DOCUMENT] = msgspec.json.encode(plugin.provide_openapi_schema())


@get("/openapi.json", include_in_schema=False, sync_to_thread=False, media_type=MediaType.JSON)
def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI document, for generated clients."""
    return Response(content=request.app.state[_DOCUMENT], media_type=MediaType.JSON)


@get("/docs/assets/{name:str}", include_in_schema=False, sync_to_thread=False, media_type=MediaType.TEXT)
def swagger_asset(name: FromPath[str]) -> File:
    """Return a file of Swagger UI."""
    if name not in _ASSETS:
        raise NotFoundException
    return File(
        path=_asset_folder() / name,
        media_type=_ASSETS[name],
        content_disposition_type="inline",
        headers={"Cache-Control": "public, max-age=86400"},
    )


HANDLERS: Final = (openapi_json, swagger_asset)


def _asset_folder() -> Path:
    # Found without being imported: only its files are wanted.
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise NotFoundException
    return Path(spec.origin).parent / "static"
