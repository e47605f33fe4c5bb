"""Bounds of connections and the end of the process, over a real socket."""

import contextlib
import gc
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from podpower_serving.app import create_app
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.protocol import HEADER_BYTES
from podpower_serving.server import Server
from podpower_serving.settings import Settings
from tests.serving.processes import is_ready, service
from tests.waiting import until

BODY = json.dumps(REQUEST_EXAMPLE).encode()


@pytest.fixture(scope="module")
def address(filled_store):
    """Of a server with patience: whatever else the machine does, no request is late."""
    with listening(Settings(model_store=str(filled_store.root), max_connections=4)) as address:
        yield address


@pytest.fixture(scope="module")
def hurried(filled_store):
    """The address of a server whose deadlines are short, for what misses them."""
    store = str(filled_store.root)
    with listening(Settings(model_store=store, header_timeout_seconds=0.4, body_timeout_seconds=0.6)) as address:
        yield address


@contextlib.contextmanager
def listening(settings):
    bounds = settings.bounds()
    server = Server(create_app(settings, bounds=bounds), bounds, drain_seconds=0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
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
def test_a_slow_client_is_answered_and_closed(hurried, sent):
    began = time.monotonic()  # before the server can begin to wait
    with connected(hurried) as connection:
        connection.sendall(sent)
        status, headers, body = answer(connection)
    assert status == 408
    assert headers["content-type"] == "application/problem+json"
    assert "did not arrive within" in json.loads(body)["detail"]
    assert 0.3 < time.monotonic() - began < 5


def test_a_client_that_sends_a_byte_now_and_then_is_closed_all_the_same(hurried):
    with connected(hurried) as connection, contextlib.suppress(ConnectionError):
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


def test_headers_without_an_end_have_a_limit(address):
    with connected(address) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(post()[:-2] + b"X-A: ")
        for _ in range(1000):  # more than the kernel holds for a server that has no turn yet
            connection.sendall(b"x" * HEADER_BYTES)
        pytest.fail("32 MB of headers were read")


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
        with connected(address) as one_more:  # accepted after those
            one_more.sendall(post() + BODY)
            status, headers, _ = answer(one_more)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "2", "close")
        held[0].sendall(post(more=b"Connection: close\r\n")[40:] + BODY)
        assert answer(held[0])[0] == 200


def test_a_body_in_pieces_and_requests_one_after_another_are_served(hurried):
    with connected(hurried) as connection:
        for last in (b"", b"Connection: close\r\n"):
            connection.sendall(post(more=last) + BODY[:20])
            time.sleep(0.05)
            connection.sendall(BODY[20:])
            time.sleep(0.3)  # idle for less than the keep-alive, longer than what is left of a deadline
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_proposal_of_another_protocol_is_passed_over(address, pieces):
    upgrade = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    sent = (post(more=upgrade) + BODY) * 2 + post(more=b"Upgrade: h2c\r\nConnection: close, Upgrade\r\n") + BODY
    with connected(address) as connection:
        size = -(-len(sent) // pieces)
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
            time.sleep(0.05)
        status, _, rest = answer(connection)
    assert status == 200
    assert rest.count(b"HTTP/1.1 200 OK") == 2


def test_many_requests_at_once_are_answered(address):
    sent = (post() + BODY) * 999 + post(more=b"Connection: close\r\n") + BODY
    assert len(sent) > 4 * HEADER_BYTES
    with connected(address) as connection:
        connection.sendall(sent)
        status, _, rest = answer(connection)
    assert (status, rest.count(b"HTTP/1.1 200 OK")) == (200, 999)


GARBAGE = b"\x16\x03\x01 not http\r\n\r\n"


@pytest.mark.parametrize("number", [1, 2, 40])
@pytest.mark.parametrize(
    ("after", "refused"),
    [
        (GARBAGE, 400),
        (post(more=b"Transfer-Encoding: chunked\r\n"), 400),
        (post().replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX") + b"no size\r\n", 400),
        (post(more=b"X-A: " + b"x" * HEADER_BYTES + b"\r\n"), 431),
        (post(more=b"Transfer-Encoding: gzip\r\n"), 501),
        (post()[:-2], 408),
        (post() + BODY[:20], 408),
    ],
    ids=["garbage", "two lengths", "chunks", "headers", "coding", "late headers", "late body"],
)
def test_what_is_refused_loses_no_answer_to_requests_before_it(address, hurried, number, after, refused):
    with connected(hurried if refused == 408 else address) as connection:
        connection.sendall((post() + BODY) * number + after)
        status, _, rest = answer(connection)
    assert (status, rest.count(b"HTTP/1.1 200 OK")) == (200, number - 1)
    assert rest.count(b"HTTP/1.1 ") == number
    assert b"HTTP/1.1 %d " % refused in rest


def test_a_client_that_closes_its_half_after_garbage_is_answered(address):
    with connected(address) as connection:
        connection.sendall((post() + BODY) * 3 + GARBAGE)
        connection.shutdown(socket.SHUT_WR)
        status, _, rest = answer(connection)
    assert (status, rest.count(b"HTTP/1.1 200 OK"), rest.count(b"HTTP/1.1 400 ")) == (200, 2, 1)


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (post().replace(b"application/json", b"text/csv"), 415),
        (post().replace(b"Length: ", b"Length: 99999999"), 413),
    ],
)
def test_a_body_that_is_refused_early_is_refused_once(hurried, head, refused):
    with connected(hurried) as connection:
        connection.sendall(head + BODY[:20])
        status, _, rest = answer(connection)
    assert status == refused
    assert b"HTTP/1.1" not in rest


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "gzip\r\nTransfer-Encoding: chunked"])
def test_a_transfer_coding_that_is_not_undone_is_not_read(address, coding):
    sent = CHUNKED.replace(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + coding.encode())
    with connected(address) as connection:
        connection.sendall(sent + b"\r\n")
        status, headers, body = answer(connection)
    assert (status, headers["content-type"]) == (501, "application/problem+json")
    assert "chunked" in json.loads(body)["detail"]


def test_few_of_many_requests_at_once_are_held_while_an_answer_is_not_read(address):
    head = b" HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /docs/assets/swagger-ui-bundle.js" + head + (b"GET /" + head) * 5000)
        assert connection.recv(1)  # of the first answer: what came with it was read
        held = sum(isinstance(found, RequestResponseCycle) for found in gc.get_objects())
    assert held < 500


@pytest.mark.parametrize("path", [b"/predict", b"/explain", b"/predict/batch"])
def test_a_client_that_closes_its_half_is_answered(address, path):
    request = post().replace(b"/predict", path, 1) + (b"[%b]" % BODY if path.endswith(b"batch") else BODY)
    request = request.replace(b"Length: %d" % len(BODY), b"Length: %d" % (len(BODY) + 2 * path.endswith(b"batch")))
    for number in (1, 40):
        with connected(address) as connection:
            connection.sendall(request * number)
            connection.shutdown(socket.SHUT_WR)
            status, _, rest = answer(connection)
        assert (status, rest.count(b"HTTP/1.1 200 OK")) == (200, number - 1)


def test_a_client_that_closes_its_half_within_a_request_is_closed(address):
    for sent in (b"", post()[:-2], post() + BODY[:20]):
        with connected(address) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""


def test_a_client_of_http_1_0_is_not_told_to_continue(address):
    """It took the 100 for the answer to its request."""
    with connected(address) as connection:
        connection.sendall(post(b"Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
        assert answer(connection)[0] == 200


def test_a_tunnel_is_refused(address):
    with connected(address) as connection:
        connection.sendall(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        assert answer(connection)[0] == 400


CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Request-ID: first\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
)


def test_trailers_replace_no_headers(address):
    with connected(address) as connection:
        connection.sendall(CHUNKED + b"X-Request-ID: trailer\r\nContent-Encoding: gzip\r\n\r\n")
        status, headers, _ = answer(connection)
    assert (status, headers["x-request-id"]) == (200, "first")


@pytest.mark.parametrize("piece", [b"X-A: b\r\n" * 10_000, b"b" * 80_000], ids=["many", "one"])
def test_trailers_have_a_limit(address, piece):
    with connected(address) as connection:
        connection.sendall(CHUNKED + b"X-A: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(piece)
            pytest.fail("8 MB of trailers were read")


def batch(rows):
    body = b"[" + b",".join([BODY] * rows) + b"]"
    return b"%b /predict/batch HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n%b" % (
        b"POST", b"Content-Type: application/json\r\n", len(body), body,
    )  # fmt: skip


@pytest.mark.parametrize("accept", [b"", b"Accept: application/x-ndjson\r\n"], ids=["at once", "by lines"])
def test_a_client_that_does_not_read_its_answer_is_closed_and_a_slow_one_is_not(hurried, accept):
    """The slow one takes longer than the patience of the server, in pauses of a fifth of it."""
    sent = batch(9900).replace(b"Host: a\r\n", b"Host: a\r\n" + accept)
    with reading_little(hurried) as idle, reading_little(hurried) as slow:
        for connection in (idle, slow):
            connection.sendall(sent)
        whole = 0
        while piece := slow.recv(1 << 16):
            before, whole = whole, whole + len(piece)
            if whole >> 19 > before >> 19:
                time.sleep(0.12)
        until(lambda: not is_held(idle.getsockname()))
        part = 0
        with contextlib.suppress(ConnectionError):
            while piece := idle.recv(1 << 16):
                part += len(piece)
    assert part < whole > 5_000_000


def is_held(client):
    """Whether the server, which is in this process, has the connection of a client."""
    return any(one.raddr == client for one in psutil.Process().net_connections("tcp"))


@contextlib.contextmanager
def reading_little(address):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(120)
        connection.connect(address)
        yield connection


def test_head_is_a_get_without_its_body(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        head, get = client.head("/healthz"), client.get("/healthz")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(get.content)))
        assert client.head("/predict").status_code == 405


def test_sigterm_drains_without_a_failed_request_and_exits_with_0(filled_store, tmp_path):
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_DRAIN_SECONDS": "30"}
    with service(tmp_path, environment=environment) as running, running.client() as client:
        running.process.send_signal(signal.SIGTERM)
        statuses = []

        def closes():
            found = client.post("/predict", json=REQUEST_EXAMPLE)
            statuses.append(found.status_code)
            return found.headers.get("connection") == "close"

        until(closes, seconds=20, every_s=0)
        assert all(closes() for _ in range(20))
        stopping = client.get("/readyz")
        assert set(statuses) == {200}
        assert (stopping.status_code, stopping.headers["retry-after"]) == (503, "2")
        assert "stopping" in stopping.json()["detail"]
        assert running.process.wait(timeout=60) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_that_closes_drains_as_sigterm_does(filled_store, workers):
    environment = {**os.environ, "PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_DRAIN_SECONDS": "30"}
    command = [sys.executable, "-m", "podpower", "serve", "--port", "0", "--workers", str(workers)]
    terminal, of_process = pty.openpty()
    with in_terminal(command, of_process, environment) as process:
        os.close(of_process)
        shown = ""
        while not (found := re.search(r"listening on (\S+)\s", shown)):
            shown += os.read(terminal, 4096).decode()
        with httpx.Client(base_url=found[1], timeout=30) as client:
            until(lambda: is_ready(client))
            os.close(terminal)
            until(lambda: client.get("/readyz").headers.get("connection") == "close", seconds=20)
            for _ in range(10):
                assert client.post("/predict", json=REQUEST_EXAMPLE).status_code == 200
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hang_up_that_is_ignored_stays_ignored(filled_store, tmp_path, workers):
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_DRAIN_SECONDS": "30"}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with service(tmp_path, "--workers", workers, environment=environment) as running, running.client() as client:
            running.process.send_signal(signal.SIGHUP)
            for _ in range(10):
                assert client.get("/readyz").status_code == 200
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(timeout=20) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def in_terminal(command, terminal, environment):
    """A process whose terminal this is, as of a shell that ran exec."""
    options = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "env": environment}
    shell = [sys.executable, "-c", "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
             "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"]  # fmt: skip
    with subprocess.Popen([*shell, *command], start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_limit_of_open_files_is_raised_to_what_connections_need(filled_store, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_MAX_CONNECTIONS": "600"}
    try:
        with service(tmp_path, environment=environment, ready=False) as running:
            soft, _ = psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert soft >= min(1200, before[1])
