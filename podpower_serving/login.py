"""The page that asks a browser for an API key, and keeps it in a cookie that no script can read."""

import hashlib
import html
from base64 import b64encode
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency

from podpower_serving.access import COOKIE, Access, is_same_origin
from podpower_serving.incoming import AnyRequest

_MOST_BYTES: Final = 8192
_MOST_NEXT: Final = 2000
_SECONDS: Final = 30 * 24 * 3600
_STYLE: Final = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif }
main { max-width: 26rem; margin: 16vh auto 0; padding: 0 1rem }
input, button { font: inherit; padding: .5rem; width: 100%; box-sizing: border-box; margin-top: .5rem }
p { min-height: 1.5rem }
"""
_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>podpower: API key</title>
<style>{style}</style></head>
<body><main><h1>podpower</h1><form method="post" action="/login">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus maxlength="256">
<input type="hidden" name="next" value="{next}">
<button>Continue</button>
<p role="alert">{message}</p>
</form></main></body></html>
"""


class Login(Controller):
    """Log browsers in and out."""

    include_in_schema = False

    @get("/login", sync_to_thread=False)
    def page(self, request: AnyRequest) -> Response[str]:
        """Return the page."""
        return _page(request.query_params.get("next", "/"), "", HTTPStatus.OK)

    @post("/login", status_code=303)
    async def log_in(self, request: AnyRequest, access: NamedDependency[Access]) -> Response[Any]:
        """Keep an accepted key in the cookie and go on to the page that was wanted."""
        headers = dict(request.scope["headers"])
        body = await request.body()
        if len(body) > _MOST_BYTES or not is_same_origin(headers):
            return _not_ours()
        form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=4) if body.count(b"&") < 4 else {}
        key, after = form.get("key", [""])[0].strip(), _local(form.get("next", ["/"])[0])
        if access.keys is None or access.keys.name_of(key.encode()) is None:
            return _page(after, "This key is not accepted.", HTTPStatus.UNAUTHORIZED)
        # The origin of the form shows whether the browser is connected by TLS, which can end before this service.
        secure = request.scope["scheme"] == "https" or headers.get(b"origin", b"").startswith(b"https:")
        cookie = Cookie(
            key=COOKIE, value=key, httponly=True, secure=secure, samesite="strict", path="/", max_age=_SECONDS
        )
        return Response(content=None, status_code=303, headers={"Location": after, **_HEADERS}, cookies=[cookie])

    @post("/logout", status_code=303, sync_to_thread=False)
    def log_out(self, request: AnyRequest) -> Response[Any]:
        """Forget the key, unless a page of another origin has sent the form."""
        if not is_same_origin(dict(request.scope["headers"])):
            return _not_ours()
        cookie = Cookie(key=COOKIE, value="", httponly=True, samesite="strict", path="/", max_age=0)
        return Response(content=None, status_code=303, headers={"Location": "/login", **_HEADERS}, cookies=[cookie])


def _page(after: str, message: str, status: HTTPStatus) -> Response[str]:
    content = _PAGE.format(style=_STYLE, next=html.escape(_local(after)), message=html.escape(message))
    return Response(content=content, status_code=status.value, media_type="text/html", headers=_HEADERS)


def _not_ours() -> Response[str]:
    return _page("/", "This form was not sent by this page.", HTTPStatus.FORBIDDEN)


def _local(path: str) -> str:
    """Return a path of this service; / for an address of another one."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and path.isascii()
    return path if is_local and len(path) <= _MOST_NEXT and "\\" not in path else "/"
