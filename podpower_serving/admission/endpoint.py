"""`POST /admission`."""

from typing import Any, Final

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Schema

from podpower_serving import openapi
from podpower_serving.admission.reviews import API_VERSION, KIND
from podpower_serving.admission.webhook import Webhook
from podpower_serving.admission.workloads import Outcome
from podpower_serving.encoding import json_answer
from podpower_serving.held_bodies import NoRoom
from podpower_serving.incoming import AnyRequest
from podpower_serving.settings import Settings

_DISCARDED_BYTES: Final = 64 << 20  # of a body that is too large, so that its sender reads the answer
_EXAMPLE: Final = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "operation": "CREATE",
        "namespace": "default",
        "object": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 2,
                "template": {"spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}},
            },
        },
    },
}
_BODY: Final = {"application/json": (Schema(), _EXAMPLE)}  # whatever it is, it is answered


@post(
    "/admission",
    operation_id="reviewAdmission",
    operation_class=openapi.takes(_BODY, required=False),
    tags=["admission"],
    status_code=200,
    request_max_body_size=None,
)
async def admission(
    request: AnyRequest, webhook: NamedDependency[Webhook], settings: NamedDependency[Settings]
) -> Response[dict[str, Any]]:
    """Review an object (AdmissionReview of admission.k8s.io/v1) and answer with a patch that adds its prediction to its
    annotations. Every body is answered 200, and allowed unless a budget denies.
    """
    body = bytearray()
    length = 0
    has_room = True
    try:
        async for piece in request.stream():
            length += len(piece)
            body += piece[: settings.max_body_bytes - len(body)]
            if length > settings.max_body_bytes + _DISCARDED_BYTES:
                break
    except NoRoom as error:
        body, has_room = body or bytearray(error.piece), False
    if length > settings.max_body_bytes or not has_room:
        content = webhook.pass_unread(bytes(body), Outcome.TOO_LARGE)
    else:
        content = await webhook.answer(bytes(body))
    return json_answer(content)
