"""`GET /static/...`: the style and the scripts of the pages, named by their content so that browsers can keep them."""

import hashlib
from typing import Final

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from podpower_serving.pages.rendering import STATIC

_TYPES: Final = {"page.css": "text/css", "page.js": "text/javascript", "htmx.min.js": "text/javascript"}
_CONTENT: Final = {name: (STATIC / name).read_bytes() for name in _TYPES}
URLS: Final = {name: f"/static/{hashlib.sha256(content).hexdigest()[:12]}/{name}" for name, content in _CONTENT.items()}
_HEADERS: Final = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


@get("/static/{digest:str}/{name:str}", include_in_schema=False, sync_to_thread=False)
def static_file(digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """Return a file of the pages."""
    if URLS.get(name) != f"/static/{digest}/{name}":
        raise NotFoundException
    return Response(content=_CONTENT[name], media_type=_TYPES[name], headers=_HEADERS)
