"""Posts of lines to a URL, one request each and in order. A line that cannot be sent makes the others wait."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import httpx

from podpower.collector.lines import line_key
from podpower.collector.metrics import Metrics
from podpower.errors import InvalidInput
from podpower.io.http import check_status, failures, open_async_client, token_in
from podpower.io.retries import Note, Retries

QUEUE_LINES = 1000
_TIMEOUT_S = 30.0
_RETRIES = Retries(attempts=None, first_s=0.2)


class Poster:
    """Sends the lines of its bounded queue. `token_file` is read for each request, because tokens rotate."""

    def __init__(self, url: str, *, token_file: str | None, metrics: Metrics, note: Note) -> None:
        if not url.startswith(("http://", "https://")) or httpx.URL(url).host == "":
            raise InvalidInput(f"--post {url!r} is not a URL: write http://HOST/PATH")
        self._url, self._token_file, self._metrics, self._note = url, token_file, metrics, note
        self._queue: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue(QUEUE_LINES)
        self._refused: list[tuple[bytes, str]] = []
        self.posted = 0  # bytes of the output up to which every line was sent or refused

    async def put(self, line: bytes, end: int) -> None:
        """Queue a line that ends at byte `end` of the output; wait while the queue is full."""
        await self._queue.put((line, end))
        self._metrics.queued(self._queue.qsize())

    async def drained(self) -> None:
        """Wait until every queued line was sent."""
        await self._queue.join()

    async def run(self, unposted: Iterable[bytes], *, begin: int) -> None:
        """Send the unposted lines, which begin at byte `begin` of the output, then those of the queue, without end."""
        async with open_async_client(read_seconds=_TIMEOUT_S) as client:
            for line in unposted:
                await self._send(client, line)
                begin += len(line)
                self.posted = begin
            while True:
                line, end = await self._queue.get()
                await self._send(client, line)
                self.posted = end
                self._queue.task_done()
                self._metrics.queued(self._queue.qsize())

    def take_refused(self) -> list[tuple[bytes, str]]:
        """Return the lines that the URL refused since the last call, each with the reason."""
        refused, self._refused = self._refused, []
        return refused

    async def _send(self, client: httpx.AsyncClient, line: bytes) -> None:
        """Send one line until it is accepted or refused."""
        key = line_key(line).identity

        async def once() -> None:
            headers = {"Content-Type": "application/json", "Idempotency-Key": key, **self._authorization()}
            with failures(untrusted=f"--post {self._url}: its certificate is not trusted"):
                response = await client.post(self._url, content=line.rstrip(b"\n"), headers=headers)
            if response.is_success:
                self._metrics.posted("sent")
                return
            message = f": {' '.join(response.text[:200].split())}"
            check_status(response, message)
            self._metrics.posted("refused")
            reason = f"{self._url} answers {response.status_code}{message}"
            self._refused.append((line, reason))
            self._note(f"refused: {reason}")

        def retried(text: str) -> None:
            self._metrics.posted("retried")
            self._note(text)

        await _RETRIES.call_async(once, what=self._url, note=retried)

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        what = f"--post-token-file {self._token_file}"
        try:
            token = token_in(Path(self._token_file).read_text().strip(), what=what)
        except OSError as error:
            raise InvalidInput(f"{what}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidInput(f"{what} is no text in UTF-8") from None
        return {"Authorization": f"Bearer {token}"}
