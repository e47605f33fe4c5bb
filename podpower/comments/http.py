"""Requests to the API of a forge. A token goes to no other host and into no message."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from podpower.errors import InvalidInput
from podpower.io.http import check_status, failures, open_client, redirect_target, tls_context
from podpower.io.retries import Again, Note, Retries, log_note, retry_after_s
from podpower.setting_values import web_address
from podpower.specs.quoting import quoted

_READ_S = 30.0
_MOST_PAGES = 100
_MOST_BYTES = 64 << 20  # of one answer: 100 comments as long as they can be on GitHub are half of it


class ForgeApi:
    """Client of one forge. `refused` explains 401, 403 and 404 for people."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str], refused: Callable[[int], str], note: Note = log_note
    ) -> None:
        try:
            self.url = web_address(url)
        except InvalidInput:
            raise InvalidInput(f"{quoted(url)!r} is not the address of an API: write https://HOST/...") from None
        self._headers, self._refused, self._note = dict(headers), refused, note
        self._client = open_client(verify=tls_context(ca_file=None, what=self.url), read_seconds=_READ_S, connections=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.close()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, base: str = "") -> Any:
        """Return the decoded answer, None without one; failures that can pass are tried again."""
        return self._answer(method, f"{base or self.url}{path}", body)[0]

    def create(self, path: str, body: Mapping[str, Any], *, exists: Callable[[], bool]) -> None:
        """Send a POST that must not happen twice: before it is tried again, `exists` looks for its effect."""
        tried = False

        def once() -> None:
            nonlocal tried
            if tried and exists():
                return
            tried = True
            self._once("POST", f"{self.url}{path}", body)

        Retries().call(once, what=self.url, note=self._note)

    def pages(self, path: str) -> list[Any]:
        """Return the comments of all pages of a list, by the links of the answers. InvalidInput for a list of too many,
        and for what is no list of comments.
        """
        found: list[Any] = []
        url = f"{self.url}{path}"
        for _ in range(_MOST_PAGES):
            value, following = self._answer("GET", url, None)
            if not isinstance(value, list) or not all(map(_is_comment, value)):
                raise InvalidInput(f"{self.url} does not answer as an API: expected a list of comments")
            found += value
            if following is None:
                return found
            if not following.startswith(f"{self._origin}/"):
                raise InvalidInput(f"{self.url} continues a list at another host, which gets no token")
            url = following
        raise InvalidInput(
            f"{self.url} has more than {_MOST_PAGES} pages of comments, too many to find the earlier one in: use "
            "--behavior new"
        )

    @property
    def _origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def _answer(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[Any, str | None]:
        return Retries().call(lambda: self._once(method, url, body), what=self.url, note=self._note)

    def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[Any, str | None]:
        content = None if body is None else msgspec.json.encode(body)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        with (
            failures(untrusted=f"{self.url}: its certificate is not trusted"),
            self._client.stream(method, url, content=content, headers=headers) as response,
        ):
            answer = self._read(response)
        message = _message(answer)
        if response.status_code == 403 and "retry-after" in response.headers:  # GitHub's secondary limit
            raise Again(f"answers 403{message}", wait_s=retry_after_s(response.headers))
        check_status(response, message)
        if response.status_code in {401, 403, 404}:
            raise InvalidInput(
                f"{self.url} answers {response.status_code}{message}: {self._refused(response.status_code)}"
            )
        if response.is_redirect:
            raise InvalidInput(f"{self.url} redirects to {redirect_target(response)}: give --api-url")
        if not response.is_success:
            raise InvalidInput(f"{self.url} answers {response.status_code}{message}")
        following = response.links.get("next", {}).get("url")
        if not answer:
            return None, following
        try:
            return msgspec.json.decode(answer), following
        except ValueError:
            raise InvalidInput(f"{self.url} does not answer in JSON: give --api-url") from None

    def _read(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        for chunk in response.iter_bytes():
            answer += chunk
            if len(answer) > _MOST_BYTES:
                raise InvalidInput(f"{self.url} answers with more than {_MOST_BYTES:,} bytes: check --api-url")
        return bytes(answer)


def _is_comment(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), int) and isinstance(row.get("body") or "", str)


def _message(answer: bytes) -> str:
    try:
        value = msgspec.json.decode(answer)
    except ValueError:
        return ""
    text = value.get("message") or value.get("error") if isinstance(value, dict) else None
    return f" ({quoted(str(text), most=200)})" if text else ""
