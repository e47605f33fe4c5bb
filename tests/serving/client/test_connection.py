"""Retries, time limits, keys and certificates of both clients."""

import asyncio
import json
import logging
import subprocess
import sys
import time

import pytest

import podpower
from podpower_serving.openapi import REQUEST_EXAMPLE
from tests.serving.client.scripted import scripted

FAST = {"attempts": 3, "most_wait_seconds": 2.0, "timeout_seconds": 5.0}
BUSY = (503, {"Retry-After": "1"}, b'{"detail": "no model yet"}')


@pytest.fixture(params=["Client", "AsyncClient"])
def predict(request):
    """Predicts one workload by either client."""

    def by_client(url=None, **options):
        with podpower.Client(url, **{**FAST, **options}) as client:
            return client.predict(REQUEST_EXAMPLE)

    def by_async_client(url=None, **options):
        async def call():
            async with podpower.AsyncClient(url, **{**FAST, **options}) as client:
                return await client.predict(REQUEST_EXAMPLE)

        return asyncio.run(call())

    return by_client if request.param == "Client" else by_async_client


@pytest.fixture(scope="module")
def good(client):
    """A real answer."""
    return (200, {"Content-Type": "application/json"}, client.post("/predict", json=REQUEST_EXAMPLE).content)


@pytest.mark.parametrize("trouble", [None, (500, {}, b""), (502, {}, b"<html>"), (429, {"Retry-After": "0"}, b"")])
def test_what_can_pass_is_tried_again(predict, good, trouble):
    with scripted(trouble, good) as (url, received):
        assert predict(url).workload_name == "web"
        assert len(received) == 2
        assert received[0][3] == received[1][3]


def test_a_requested_wait_is_kept(predict, good, caplog):
    with scripted(BUSY, good) as (url, _), caplog.at_level(logging.WARNING):
        began = time.monotonic()
        predict(url)
        assert time.monotonic() - began >= 1.0
        assert "no model yet" in caplog.text


def test_a_wait_beyond_the_bound_is_an_error_at_once(predict):
    with scripted((503, {"Retry-After": "3600"}, b"")) as (url, received):
        with pytest.raises(podpower.Unavailable, match="3600 s"):
            predict(url)
        assert len(received) == 1


def test_attempts_are_bounded(predict):
    with scripted((503, {}, b'{"detail": "no model yet"}')) as (url, received):
        with pytest.raises(podpower.Unavailable, match="no model yet"):
            predict(url, attempts=2)
        assert len(received) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422, 307])
def test_what_is_refused_is_not_tried_again(predict, status):
    headers = {"Location": "http://elsewhere.example/"} if status == 307 else {}
    with scripted((status, headers, json.dumps({"detail": "wrong\x1b[2J field"}).encode())) as (url, received):
        with pytest.raises(podpower.RequestRefused, match="wrong") as caught:
            predict(url)
        assert caught.value.status == status
        assert "\x1b" not in str(caught.value)
        assert len(received) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 10_000, b'{"workload_name": 1}'])
def test_an_unknown_answer_is_one_clear_error(predict, body):
    with scripted((200, {}, body)) as (url, _), pytest.raises(podpower.PodpowerError, match="use the same version"):
        predict(url)


def test_a_slow_service_is_not_waited_for(predict):
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(podpower.Unavailable, match="no answer in time"):
            predict(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.3, attempts=1)
        assert time.monotonic() - began < 5


def test_nobody_there_is_unavailable(predict):
    with pytest.raises(podpower.Unavailable, match="cannot be reached"):
        predict("http://127.0.0.1:1", attempts=1)


@pytest.mark.parametrize("url", ["", "ftp://x", "127.0.0.1:8000", "http://a b", "x"])
def test_a_wrong_address_is_invalid(predict, url, monkeypatch):
    monkeypatch.setenv("PODPOWER_API_URL", "http://127.0.0.1:1")
    if url:
        with pytest.raises(podpower.InvalidInput):
            predict(url)
    else:
        with pytest.raises(podpower.Unavailable):
            predict(url, attempts=1)


@pytest.mark.parametrize(
    "options",
    [{"timeout_seconds": 0}, {"timeout_seconds": float("nan")}, {"most_wait_seconds": -1}, {"attempts": 0}],
)
def test_a_limit_that_allows_nothing_is_named_before_anything_is_sent(predict, options):
    with pytest.raises(podpower.InvalidInput, match=next(iter(options))):
        predict("http://127.0.0.1:1", **options)


def test_the_key_is_sent_and_never_shown(predict, good, monkeypatch):
    with scripted(good) as (url, received):
        predict(url)
        predict(url, api_key="pp-argument")
        monkeypatch.setenv("PODPOWER_API_KEY", "pp-environment")
        predict(url)
        predict(url, api_key="pp-file\n")  # as the content of a file or a Secret ends
        keys = [headers.get("Authorization") for _, _, headers, _ in received]
        assert keys == [None, "Bearer pp-argument", "Bearer pp-environment", "Bearer pp-file"]
        assert "pp-" not in repr(podpower.Client(url))


@pytest.mark.parametrize("key", ["a\nb", "ä", "a b", ""])
def test_a_key_that_no_header_can_hold_is_an_error_without_it(predict, good, key):
    with scripted(good) as (url, _):
        if not key:
            predict(url, api_key=key)
        else:
            with pytest.raises(podpower.InvalidInput) as caught:
                predict(url, api_key=key)
            assert key not in str(caught.value)


def test_the_address_comes_from_the_environment(predict, good, monkeypatch):
    with scripted(good) as (url, received):
        monkeypatch.setenv("PODPOWER_API_URL", f"{url}/")
        predict()
        assert received[0][1] == "/predict"


def test_importing_podpower_loads_nothing():
    code = (
        "import sys, podpower; before = set(sys.modules)\n"
        "assert not {'httpx', 'numpy', 'msgspec', 'asyncio'} & before, before\n"
        "podpower.InvalidInput; assert 'numpy' not in sys.modules\n"
        "assert 'Client' in dir(podpower)\n"
        "for name in podpower.__all__: getattr(podpower, name)\n"
        "assert not {'polars', 'pandas', 'dagster', 'litestar', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_extra_is_named():
    code = (
        "import sys; sys.modules['httpx'] = None\nimport podpower\n"
        "try: podpower.Client\nexcept ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert "pip install '.[client]'" in done.stdout
