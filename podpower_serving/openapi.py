"""OpenAPI document and Swagger UI, whose files are part of the installation: no internet is needed."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from litestar import MediaType, Request, get
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema
from litestar.params import FromPath
from litestar.response import File

from podpower import __version__
from podpower_serving.errors import PROBLEM_JSON
from podpower_serving.schemas import Problem

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
NOT_READY: Final = {503: _RESPONSES[503]}


_OPTIONS: Final = (
    ("nodes", "integer", "number of pods of a DaemonSet whose status has none"),
    ("lenient", "boolean", "read objects with misspelt fields as if these were absent"),
    ("cluster", "string", "cluster of the workloads that name none"),
)


def takes(bodies: Mapping[str, tuple[Any, Any]], *, options: bool = False) -> type[Operation]:
    """Return an operation whose body is described by media type: (schema, example).

    `options` adds the query parameters that control how manifests are read.
    """
    parameters = [
        Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType(kind)))
        for name, kind, text in (_OPTIONS if options else ())
    ]
    content = {name: OpenAPIMediaType(schema=schema, example=example) for name, (schema, example) in bodies.items()}

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=True)
            self.parameters = [*(self.parameters or ()), *parameters] or None

    return Described


def manifest_types(names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Describe a body of manifests, by media type."""
    return {name: (Schema(type="string"), MANIFEST_EXAMPLE) for name in names}  # type: ignore[arg-type]


def config() -> OpenAPIConfig:
    """Return the configuration of /openapi.json and /docs."""
    assets = "/docs/assets"
    return OpenAPIConfig(
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


@get("/openapi.json", include_in_schema=False, sync_to_thread=False, media_type=MediaType.JSON)
def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Return the OpenAPI document, for generated clients."""
    return request.app.openapi_schema.to_schema()


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


def _asset_folder() -> Path:
    # Found without being imported: only its files are wanted.
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise NotFoundException
    return Path(spec.origin).parent / "static"
