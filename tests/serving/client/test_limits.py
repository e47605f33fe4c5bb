"""Limits of both clients: on the time of an attempt, on the size of an answer, and after they are closed."""

import asyncio
import gzip
import itertools
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

import podpower
from podpower.client.calls import LINE_BYTES
from podpower_serving.openapi import REQUEST_EXAMPLE
from tests.serving.client.scripted import scripted, streaming

OPTIONS = {"attempts": 1, "timeout_seconds": 0.4}
PATIENT = {"attempts": 1, "timeout_seconds": 60.0}
NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
ROWS = [msgspec.convert(REQUEST_EXAMPLE, podpower.InferenceRequest)] * 2


@pytest.fixture(params=["Client", "AsyncClient"])
def asked(request):
    """Calls a method of either client with given options; answers by lines are lists."""

    def by_client(url, options, method, *given):
        with podpower.Client(url, **options) as client:
            found = getattr(client, method)(*given)
            return list(found) if method == "predict_lines" else found

    def by_async_client(url, options, method, *given):
        async def call():
            async with podpower.AsyncClient(url, **options) as client:
                found = getattr(client, method)(*given)
                return [line async for line in found] if method == "predict_lines" else await found

        return asyncio.run(call())

    return by_client if request.param == "Client" else by_async_client


@pytest.fixture(scope="module")
def body(client):
    return client.post("/predict", json=REQUEST_EXAMPLE).content


@pytest.fixture(scope="module")
def lines(client):
    headers = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    return client.post("/predict/batch", content=b"\n".join(map(msgspec.json.encode, ROWS)), headers=headers).content


def bytewise(*parts):
    """The parts in which an answer arrives: bytes one by one, a list as it is."""
    return [piece for part in parts for piece in (part if isinstance(part, list) else [bytes([x]) for x in part])]


@pytest.mark.parametrize("slow", ["head", "body"])
def test_an_answer_that_drips_is_not_waited_for_longer_than_an_attempt(asked, body, slow):
    head = b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: %d\r\n\r\n" % (b"x" * 200, len(body))
    pieces = bytewise(head, [body]) if slow == "head" else bytewise([head], body)
    with streaming(lambda: pieces, pause_seconds=0.003) as url:
        with pytest.raises(podpower.Unavailable, match="no answer in time"):
            asked(url, OPTIONS, "predict", REQUEST_EXAMPLE)
        assert asked(url, PATIENT, "predict", REQUEST_EXAMPLE).workload_name == "web"


def test_an_answer_that_drips_through_a_proxy_is_not_waited_for(asked, body, monkeypatch):
    pieces = bytewise([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)], body)
    with streaming(lambda: pieces, pause_seconds=0.003) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(podpower.Unavailable, match="no answer in time"):
            asked("http://podpower.example", OPTIONS, "predict", REQUEST_EXAMPLE)
        assert asked("http://podpower.example", PATIENT, "predict", REQUEST_EXAMPLE).workload_name == "web"


def test_a_line_that_drips_is_not_waited_for_and_many_lines_are(asked, lines):
    drips = bytewise([NDJSON], lines)
    with (
        streaming(lambda: drips, pause_seconds=0.003) as url,
        pytest.raises(podpower.Unavailable, match=r"in the middle.*no answer in time"),
    ):
        asked(url, OPTIONS, "predict_lines", ROWS)
    first, last = lines.split(b"\n")[0] + b"\n", lines.rstrip(b"\n").rpartition(b"\n")[2] + b"\n"
    options = {**OPTIONS, "timeout_seconds": 1.0}  # less than all lines take, and much more than one
    with streaming(lambda: [NDJSON, *[first] * 20, last], pause_seconds=0.07) as url:
        assert len(asked(url, options, "predict_lines", ROWS * 10)) == 21


def endless(begin, piece):
    """Pieces without an end: the client has to leave."""
    return lambda: itertools.chain([begin], itertools.repeat(piece))


def test_a_line_without_an_end_is_not_read(asked):
    with (
        streaming(endless(NDJSON, b" " * (LINE_BYTES // 4))) as url,
        pytest.raises(podpower.UnknownAnswer, match="line of more than 1 MiB"),
    ):
        asked(url, PATIENT, "predict_lines", ROWS)


def test_more_lines_than_rows_are_not_read(asked, lines):
    with (
        streaming(endless(NDJSON, lines.split(b"\n")[0] + b"\n")) as url,
        pytest.raises(podpower.UnknownAnswer, match="more lines than"),
    ):
        asked(url, PATIENT, "predict_lines", ROWS)


@pytest.mark.parametrize("status", [b"200 OK", b"422 Unprocessable Content"])
def test_an_answer_without_an_end_is_not_read(asked, status):
    head = b"HTTP/1.1 %b\r\nConnection: close\r\n\r\n" % status
    with (
        streaming(endless(head, b" " * (1 << 20))) as url,
        pytest.raises(podpower.UnknownAnswer, match="more than 128 MiB"),
    ):
        asked(url, PATIENT, "predict", REQUEST_EXAMPLE)


@pytest.mark.parametrize("method", ["predict", "predict_lines"])
def test_compressed_answers_are_neither_accepted_nor_decoded(asked, body, method):
    with (
        scripted((200, {"Content-Encoding": "gzip"}, gzip.compress(body))) as (url, received),
        pytest.raises(podpower.UnknownAnswer, match="encoding gzip"),
    ):
        asked(url, PATIENT, method, ROWS if method == "predict_lines" else REQUEST_EXAMPLE)
    assert received[0][2]["Accept-Encoding"] == "identity"


def test_a_closed_client_is_an_error_of_its_own(lines):
    with podpower.Client("http://127.0.0.1:1") as client:
        pass
    for call in (lambda: client.predict(REQUEST_EXAMPLE), lambda: next(client.predict_lines(ROWS))):
        with pytest.raises(podpower.ClientClosed, match="is closed"):
            call()

    async def closed():
        async with podpower.AsyncClient("http://127.0.0.1:1") as found:
            pass
        await found.predict(REQUEST_EXAMPLE)

    with pytest.raises(podpower.ClientClosed, match="is closed"):
        asyncio.run(closed())


def test_a_client_closed_within_an_answer_by_lines_is_an_error_of_its_own(lines):
    first = lines.split(b"\n")[0] + b"\n"
    with streaming(endless(NDJSON + first, b" "), pause_seconds=0.05) as url, podpower.Client(url, **PATIENT) as client:
        found = client.predict_lines(ROWS)
        assert next(found).prediction is not None
        client.close()
        with pytest.raises(podpower.ClientClosed, match="is closed"):
            next(found)


@pytest.fixture(params=["Client", "AsyncClient"])
def at_once(request, monkeypatch):
    """Calls `predict` of one client several times at once; the client has one connection."""
    monkeypatch.setattr("podpower.client.http.CONNECTIONS", 1)

    def by_client(number, url, **options):
        with podpower.Client(url, **options) as client, ThreadPoolExecutor(number) as threads:
            calls = [threads.submit(client.predict, REQUEST_EXAMPLE) for _ in range(number)]
            return [call.exception() or call.result() for call in calls]

    def by_async_client(number, url, **options):
        async def call():
            async with podpower.AsyncClient(url, **options) as client:
                calls = (client.predict(REQUEST_EXAMPLE) for _ in range(number))
                return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(call())

    return by_client if request.param == "Client" else by_async_client


def test_a_call_that_waited_for_a_connection_has_its_whole_time(at_once, body):
    """6,000 predictions by one AsyncClient, begun at 300/s on a busy machine: 381 were answered. Those that got a
    connection had waited for most of their time, gave up in the middle of the answer and closed the connection.
    """
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with streaming(lambda: [b"", answer], pause_seconds=1.6) as url:
        found = at_once(2, url, attempts=1, timeout_seconds=3.0)
    assert [type(one).__name__ for one in found] == ["Prediction"] * 2


def test_calls_without_a_connection_do_not_wait_for_a_service_that_hangs(at_once):
    with streaming(lambda: itertools.repeat(b""), pause_seconds=60) as url:
        found = at_once(8, url, attempts=1, timeout_seconds=0.4)
    reasons = [str(error).removeprefix(f"{url}: ") for error in found]
    assert all(isinstance(error, podpower.Unavailable) for error in found)
    assert (
        sum(reason.startswith("no connection was free in time") for reason in reasons) >= 6
    )  # the first one's can be free at the last moment
    assert any(reason.startswith("no answer in time") for reason in reasons)


def test_an_answer_by_lines_gives_its_connection_back(monkeypatch, lines):
    monkeypatch.setattr("podpower.client.http.CONNECTIONS", 1)
    options = {"attempts": 1, "timeout_seconds": 5.0}

    async def by_async_client(url):
        async with podpower.AsyncClient(url, **options) as client:
            return [[line async for line in client.predict_lines(ROWS)] for _ in range(3)]

    with streaming(lambda: [NDJSON, lines]) as url:
        with podpower.Client(url, **options) as client:
            assert [len(list(client.predict_lines(ROWS))) for _ in range(3)] == [3, 3, 3]
        assert [len(found) for found in asyncio.run(by_async_client(url))] == [3, 3, 3]
    with scripted((422, {}, b"{}")) as (url, _), podpower.Client(url, **options) as client:
        for _ in range(3):
            with pytest.raises(podpower.RequestRefused):
                next(client.predict_lines(ROWS))
