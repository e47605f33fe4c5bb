"""One policy for synchronous and asynchronous requests: retry what can pass, wait as asked, announce each wait."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput, Unavailable
from podpower.io.http import check_status, failures, open_async_client, open_client, redirect_target, tls_context
from podpower.io.retries import MAX_RETRY_AFTER_S, Again, Backoff, FewNotes, Refusals, Retries, retry_after_s
from tests.clusters.tls import https, self_signed
from tests.http_servers import Request, Response, serving

Script = list[tuple[int, dict[str, str]]]


@dataclass
class Server:
    """Answers by `script`, then with 200."""

    url: str = ""
    script: Script = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    def respond(self, request: Request) -> Response:
        self.requests.append(dict(request.headers))
        status, headers = self.script.pop(0) if self.script else (200, {})
        return Response(b"body", status, headers)


@pytest.fixture
def servers() -> Iterator[Callable[[], Server]]:
    with contextlib.ExitStack() as running:

        def start() -> Server:
            server = Server()
            server.url = running.enter_context(serving(server.respond))
            return server

        yield start


@pytest.fixture
def server(servers: Callable[[], Server]) -> Server:
    return servers()


@pytest.fixture
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


def checked(response: httpx.Response) -> bytes:
    check_status(response, "")
    if not response.is_success:
        raise InvalidInput(f"answers {response.status_code}")
    return response.content


def synchronous(url: str, retries: Retries, notes: list[str], ca_file: str | None = None) -> bytes:
    verify = tls_context(ca_file=ca_file, what="a test")
    with open_client(verify=verify, read_seconds=30.0, connections=1) as client:

        def once() -> bytes:
            with failures(untrusted=f"{url}: not trusted"):
                return checked(client.get(url, headers={"Authorization": "Bearer s3cret"}))

        return retries.call(once, what=url, note=notes.append)


def asynchronous(url: str, retries: Retries, notes: list[str], ca_file: str | None = None) -> bytes:
    async def run() -> bytes:
        verify = tls_context(ca_file=ca_file, what="a test")
        async with open_async_client(read_seconds=30.0, verify=verify) as client:

            async def once() -> bytes:
                with failures(untrusted=f"{url}: not trusted"):
                    return checked(await client.get(url, headers={"Authorization": "Bearer s3cret"}))

            return await retries.call_async(once, what=url, note=notes.append)

    return asyncio.run(run())


Ask = Callable[..., bytes]
both = pytest.mark.parametrize("ask", [synchronous, asynchronous])


@both
@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_can_pass_is_tried_again(server: Server, ask: Ask, status: int) -> None:
    server.script = [(status, {})] * 3
    notes: list[str] = []
    assert ask(server.url, Retries(attempts=4), notes) == b"body"
    assert len(server.requests) == 4
    assert [note.partition(";")[0] for note in notes] == [f"{server.url}: answers {status}"] * 3


@both
@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501])
def test_what_will_not_pass_is_tried_once(server: Server, ask: Ask, status: int) -> None:
    server.script = [(status, {"Retry-After": "1"})] * 3
    notes: list[str] = []
    with pytest.raises(InvalidInput, match=f"answers {status}"):
        ask(server.url, Retries(attempts=4), notes)
    assert len(server.requests) == 1
    assert notes == []


@both
@pytest.mark.usefixtures("no_waits")
def test_the_last_failure_is_the_reason(server: Server, ask: Ask) -> None:
    server.script = [(503, {}), (429, {}), (504, {})]
    notes: list[str] = []
    with pytest.raises(Unavailable, match=f"{server.url}: answers 504"):
        ask(server.url, Retries(attempts=3), notes)
    assert len(server.requests) == 3
    assert len(notes) == 2  # no wait follows the last attempt


@both
@pytest.mark.usefixtures("no_waits")
def test_a_server_that_is_away_is_unavailable(ask: Ask) -> None:
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9: cannot be reached"):
        ask("http://127.0.0.1:9", Retries(attempts=2), [])


@both
def test_retry_after_is_waited_for_and_announced(server: Server, ask: Ask) -> None:
    server.script = [(503, {"Retry-After": "1"})]
    notes: list[str] = []
    began_s = time.monotonic()
    assert ask(server.url, Retries(first_s=0.01), notes) == b"body"
    assert time.monotonic() - began_s >= 1.0
    [note] = notes
    assert note.startswith(f"{server.url}: answers 503; trying again in 1.")


@both
def test_a_retry_after_of_nothing_does_not_hammer(server: Server, ask: Ask) -> None:
    server.script = [(429, {"Retry-After": "0"})] * 2
    began_s = time.monotonic()
    assert ask(server.url, Retries(first_s=0.2), []) == b"body"
    assert time.monotonic() - began_s >= 0.2 + 0.4


@both
def test_a_wait_that_is_too_long_ends_the_attempts_and_is_named(server: Server, ask: Ask) -> None:
    server.script = [(503, {"Retry-After": "99999"})] * 2
    notes: list[str] = []
    with pytest.raises(Unavailable, match=rf"{server.url}: answers 503 and requests a wait of 99999 s .* 120 s"):
        ask(server.url, Retries(attempts=4), notes)
    assert len(server.requests) == 1
    assert notes == []


@both
@pytest.mark.usefixtures("no_waits")
def test_attempts_without_end_wait_no_longer_than_the_bound(server: Server, ask: Ask) -> None:
    server.script = [(503, {"Retry-After": "99999"})]
    assert ask(server.url, Retries(attempts=None), []) == b"body"


def test_refused_credentials_are_read_again_at_once_and_then_until_patience_ends() -> None:
    patient, hasty = Refusals(60.0), Refusals(0.0)
    assert [patient.next_s() for _ in range(7)] == pytest.approx([0.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
    assert [hasty.next_s() for _ in range(2)] == [0.0, None]


@given(st.text() | st.integers(-10, 10**30).map(str) | st.floats(allow_nan=False).map(str))
def test_a_retry_after_is_a_number_of_seconds_whatever_it_says(text: str) -> None:
    wait_s = retry_after_s({"retry-after": text})
    assert 0.0 <= wait_s <= 1e9
    assert Backoff().next_s(at_least_s=wait_s) <= MAX_RETRY_AFTER_S


def test_a_retry_after_can_be_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_790_000_000.25
    monkeypatch.setattr(time, "time", lambda: now_s)
    for ahead_s, wait_s in ((30.0, 29.75), (1e6, 1e6 - 0.25), (-1e6, 0.0)):
        assert retry_after_s({"retry-after": formatdate(now_s + ahead_s, usegmt=True)}) == wait_s
    assert retry_after_s({}) == 0.0


@both
def test_credentials_do_not_follow_a_redirect(servers: Callable[[], Server], ask: Ask) -> None:
    first, second = servers(), servers()
    first.script = [(307, {"Location": f"{second.url}/login?token=x"})]
    with pytest.raises(InvalidInput, match="answers 307"):
        ask(first.url, Retries(), [])
    assert first.requests[0]["Authorization"] == "Bearer s3cret"
    assert second.requests == []


def test_a_redirect_is_shown_without_its_query() -> None:
    response = httpx.Response(302, headers={"Location": "https://login.example/start?token=x"})
    assert redirect_target(response) == "https://login.example/start"


@both
@pytest.mark.usefixtures("no_waits")
def test_a_certificate_that_is_not_trusted_is_not_tried_again(tmp_path: Path, ask: Ask) -> None:
    for name in ("server", "other"):
        (tmp_path / name).mkdir()
    authority, other = self_signed(tmp_path / "server"), self_signed(tmp_path / "other")
    notes: list[str] = []
    with https(authority, b"{}") as url, pytest.raises(InvalidInput, match="not trusted"):
        ask(url, Retries(attempts=3), notes, str(other))
    assert notes == []


def test_other_errors_are_raised_at_once() -> None:
    calls = []

    def once() -> None:
        calls.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        Retries().call(once, what="x")
    assert len(calls) == 1


def test_requests_at_the_same_time_announce_their_own_waits() -> None:
    notes: dict[str, list[str]] = {"a": [], "b": []}

    def run(name: str) -> None:
        failures_left = [3]

        def once() -> None:
            if failures_left[0]:
                failures_left[0] -= 1
                raise Again(f"failure of {name}")

        Retries(first_s=0.01).call(once, what=name, note=notes[name].append)

    threads = [threading.Thread(target=run, args=(name,)) for name in notes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, found in notes.items():
        assert [note.partition(";")[0] for note in found] == [f"{name}: failure of {name}"] * 3


def test_waits_of_many_calls_are_announced_now_and_then_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    few, now_s = FewNotes(note=notes.append, every_s=10), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    for _ in range(1000):
        few("waiting")
    assert notes == ["waiting"]
    now_s += 10
    few("waiting on")
    few("waiting still")
    assert notes[1:] == ["waiting on (999 more waits since the last note)"]
