"""CPU time that request ids, API keys, metrics and the log add to a request, beside an application that does nothing.

python benchmarks/bench_front.py
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from podpower.io.api_keys import line_of, new_key
from podpower_serving.access import Access, Keys
from podpower_serving.front import Front
from podpower_serving.held_bodies import HeldBodies
from podpower_serving.logs import AccessLog
from podpower_serving.metrics import Metrics

GOAL_US, REQUESTS, ROUNDS = 15.0, 30_000, 5
HEADERS = [
    (b"host", b"127.0.0.1:8000"), (b"user-agent", b"bench"), (b"accept", b"*/*"),
    (b"content-type", b"application/json"), (b"content-length", b"300"),
]  # fmt: skip


async def answer(_scope, _receive, send):
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


async def nothing(*_):
    return {}


async def cpu_us(app, headers) -> float:
    """The least of some rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(REQUESTS):
            scope = {
                "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
                "headers": headers, "client": ("127.0.0.1", 50_000), "scheme": "http",
            }  # fmt: skip
            await app(scope, nothing, nothing)
        least = min(least, (time.process_time() - began) / REQUESTS * 1e6)
    return least


async def main() -> None:
    key = new_key()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "wb") as nowhere:
        (Path(folder) / "keys").write_text(line_of("bench", key))
        access = Access(Keys(Path(folder) / "keys"))
        log = AccessLog(file=nowhere.fileno())
        signed = [*HEADERS, (b"authorization", f"Bearer {key}".encode())]
        bare_us = await cpu_us(answer, HEADERS)
        added_us = 0.0
        for name, who, lines, headers in (
            ("id and metrics", Access(), None, HEADERS),
            ("with an API key", access, None, signed),
            ("with a key and the JSON log", access, log, signed),
        ):
            metrics = Metrics()
            front = Front(
                answer,
                metrics=metrics,
                access=who,
                bodies=HeldBodies(max_body_bytes=8 << 20),
                cross_origin=None,
                log=lines,
                routes=frozenset({"/predict"}),
            )
            added_us = await cpu_us(front, headers) - bare_us
            print(f"CPU us a request, {name:40s}{added_us:8.1f}")
    print(f"{'all of it':58s}{added_us:8.1f}   goal {GOAL_US}")
    sys.exit(added_us > GOAL_US)


if __name__ == "__main__":
    asyncio.run(main())
