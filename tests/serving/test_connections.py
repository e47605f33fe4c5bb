"""Bounds of connections and the end of the process, over a real socket."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from podpower.cli.ports import free_port
from podpower_serving.app import create_app
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.protocol import HEADER_BYTES
from podpower_serving.server import Server
from podpower_serving.settings import Settings

BODY = json.dumps(REQUEST_EXAMPLE).encode()


@pytest.fixture(scope="module")
def address(filled_store):
    settings = Settings(
        model_store=str(filled_store.root), header_timeout_seconds=0.4, body_timeout_seconds=0.6, max_connections=4
    )
    bounds = settings.bounds()
    server = Server(create_app(settings, bounds=bounds), bounds, drain_seconds=0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def connected(address):
    with socket.create_connection(address, timeout=10) as connection:
        yield connection


def answer(connection):
    """Everything until the server closes the connection: status, headers, body."""
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


def post(more=b""):
    return b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
        more,
        len(BODY),
    )


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", post()[:-2], post(), post() + BODY[:20]])
def test_a_slow_client_is_answered_and_closed(address, sent):
    with connected(address) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        status, headers, body = answer(connection)
    assert status == 408
    assert headers["content-type"] == "application/problem+json"
    assert "did not arrive within" in json.loads(body)["detail"]
    assert 0.3 < time.monotonic() - began < 5


def test_a_client_that_sends_a_byte_now_and_then_is_closed_all_the_same(address):
    with connected(address) as connection, contextlib.suppress(ConnectionError):
        for byte in post():
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        pytest.fail("the headers took longer than their time")


def test_headers_have_a_limit(address):
    for headers in (b"X-A: " + b"x" * HEADER_BYTES + b"\r\n", b"X-A: b\r\n" * (HEADER_BYTES // 8)):
        with connected(address) as connection:
            connection.sendall(post(more=headers))
            status, _, body = answer(connection)
        assert (status, json.loads(body)["title"]) == (431, "Request Header Fields Too Large")


def test_what_is_not_http_gets_a_problem(address):
    with connected(address) as connection:
        connection.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        status, headers, body = answer(connection)
    assert (status, headers["content-type"], json.loads(body)["status"]) == (400, "application/problem+json", 400)


def test_connections_beyond_the_limit_get_503_and_those_within_are_served(address):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(address)) for _ in range(4)]
        for connection in held:
            connection.sendall(post(more=b"Connection: close\r\n")[:40])
        time.sleep(0.1)
        with connected(address) as one_more:
            one_more.sendall(post() + BODY)
            status, headers, _ = answer(one_more)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "2", "close")
        held[0].sendall(post(more=b"Connection: close\r\n")[40:] + BODY)
        assert answer(held[0])[0] == 200


def test_a_body_in_pieces_and_requests_one_after_another_are_served(address):
    with connected(address) as connection:
        for last in (b"", b"Connection: close\r\n"):
            connection.sendall(post(more=last) + BODY[:20])
            time.sleep(0.05)
            connection.sendall(BODY[20:])
            time.sleep(0.3)  # idle for less than the keep-alive, longer than what is left of a deadline
        assert answer(connection)[0] == 200


def test_head_is_a_get_without_its_body(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        head, get = client.head("/healthz"), client.get("/healthz")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(get.content)))
        assert client.head("/predict").status_code == 405


def test_sigterm_drains_without_a_failed_request_and_exits_with_0(filled_store):
    port = free_port()
    environment = {**os.environ, "PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_DRAIN_SECONDS": "3"}
    command = [sys.executable, "-m", "podpower", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as service:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                while not is_ready(client):
                    assert service.poll() is None
                    time.sleep(0.05)
                service.send_signal(signal.SIGTERM)
                statuses, closed = [], []
                until = time.monotonic() + 1.0
                while time.monotonic() < until:
                    found = client.post("/predict", json=REQUEST_EXAMPLE)
                    statuses.append(found.status_code)
                    closed.append(found.headers.get("connection") == "close")
                stopping = client.get("/readyz")
            assert set(statuses) == {200}
            assert closed[-1]
            assert (stopping.status_code, stopping.headers["retry-after"]) == (503, "2")
            assert "stopping" in stopping.json()["detail"]
            assert service.wait(timeout=15) == 0
        finally:
            service.kill()


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
