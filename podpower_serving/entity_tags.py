"""Entity tags (RFC 9110, section 8.8.3): a client that has an answer already is not sent it again."""

import hashlib
from typing import Any

from litestar import Response

from podpower_serving.encoding import json_answer
from podpower_serving.incoming import AnyRequest


def tag_of(content: bytes) -> str:
    """Return the entity tag of an answer."""
    return f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'


def unless_known(request: AnyRequest, content: bytes) -> Response[Any]:
    """Return an answer in JSON with its tag; 304 without a body where If-None-Match has that tag."""
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if is_known(request, tag):
        return Response(content=None, status_code=304, headers=headers)
    return json_answer(content, headers=headers)


def is_known(request: AnyRequest, tag: str) -> bool:
    """Return True if a client has the answer with this tag: If-None-Match is a list, on one line or on several."""
    lines = request.headers.getall("if-none-match", [])
    given = [part.strip().removeprefix("W/") for line in lines for part in line.split(",")]
    return tag in given or given == ["*"]
