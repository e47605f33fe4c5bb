"""How several workers divide the connections of the socket that they share."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import statistics
import time
from urllib.parse import urlsplit

import psutil
import pytest

from podpower_serving.accepting import Accepting
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.shared_counts import SharedCounts
from tests.serving.processes import service, wait_until
from tests.serving.test_tls import Authority

CONNECTIONS = 64
BURSTS = 5
ROUNDS = 4
CLOSED = 400
BODY = json.dumps(REQUEST_EXAMPLE).encode()
REQUEST = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@contextlib.contextmanager
def two_workers(store, folder, *options, **variables):
    environment = {"PODPOWER_MODEL_STORE": str(store.root), **variables}
    with service(folder, "--workers", "2", *options, environment=environment, verify=False) as running:
        wait_until(lambda: running.logged().count("Application startup complete") == 2, running.log)
        yield running


def workers_of(served):
    return psutil.Process(served.process.pid).children()


def address(served):
    return urlsplit(served.url).hostname, urlsplit(served.url).port


def connections_of(worker):
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in worker.net_connections("tcp"))


def opened_at_once(served, stack):
    """Return connections that were opened before any of them was answered."""
    opened = []
    for _ in range(CONNECTIONS):
        connection = stack.enter_context(socket.socket())
        connection.setblocking(False)
        connection.connect_ex(address(served))
        opened.append(connection)
    for connection in opened:
        connection.settimeout(30)
    return opened


def is_answered(connection):
    return connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def difference(served):
    """Return how many connections more the one worker has."""
    one, other = map(connections_of, workers_of(served))
    assert one + other == CONNECTIONS
    return abs(one - other)


def assert_even(served, open_all):
    """`open_all` opens connections. A worker that gets no CPU, beside other tests, gets none of a burst, or of most of
    a round on a busy machine. Workers that do not share are hardly ever even.
    """
    rounds = []

    def differences():
        for _ in range(BURSTS):
            wait_until(lambda: not any(map(connections_of, workers_of(served))), served.log)
            with contextlib.ExitStack() as stack:
                open_all(stack)
                yield difference(served)

    while not rounds or statistics.median(rounds[-1]) > 8:
        assert len(rounds) < ROUNDS, rounds
        rounds.append([*differences()])


def test_connections_that_are_opened_at_once_are_divided_evenly(filled_store, tmp_path):
    def open_all(stack):
        opened = opened_at_once(served, stack)
        for connection in opened:
            connection.sendall(REQUEST)
        assert all(map(is_answered, opened))

    with two_workers(filled_store, tmp_path) as served:
        assert_even(served, open_all)


@pytest.fixture
def tls_options(tmp_path):
    certificate, key = Authority(tmp_path / "ours").issue("localhost")
    return "--tls-cert", certificate, "--tls-key", key


def test_connections_over_tls_are_divided_evenly(filled_store, tmp_path, tls_options):
    context = ssl._create_unverified_context()

    def open_all(stack):
        opened = opened_at_once(served, stack)
        secured = [stack.enter_context(context.wrap_socket(one, do_handshake_on_connect=False)) for one in opened]
        for connection in secured:
            connection.do_handshake()
            connection.sendall(REQUEST)
        assert all(map(is_answered, secured))

    with two_workers(filled_store, tmp_path, *tls_options) as served:
        assert_even(served, open_all)


def test_handshakes_that_do_not_come_are_divided_evenly_and_end(filled_store, tmp_path, tls_options):
    def open_all(stack):
        opened.extend(opened_at_once(served, stack))
        wait_until(lambda: sum(map(connections_of, workers_of(served))) == CONNECTIONS, served.log)

    opened = []
    variables = {"PODPOWER_HEADER_TIMEOUT_SECONDS": "5"}
    with two_workers(filled_store, tmp_path, *tls_options, **variables) as served, contextlib.ExitStack() as stack:
        assert_even(served, open_all)
        opened.clear()
        open_all(stack)
        assert all(connection.recv(1) == b"" for connection in opened)
        wait_until(lambda: not any(map(connections_of, workers_of(served))), served.log)
        assert "Traceback" not in served.logged()
        assert "never retrieved" not in served.logged()


class Counting(Accepting):
    """Counts how often it leaves the socket alone."""

    pauses = 0

    def _pause(self, *given):
        self.pauses += 1
        super()._pause(*given)


def test_connections_that_come_and_go_are_not_held_back():
    """Two workers each took one connection in two milliseconds, and waited for the other: of 1,000 connections a second
    that were closed at once, a third were accepted, and requests beside them took 10 s.
    """

    async def pauses():
        slots = SharedCounts(2).heads
        closed = [asyncio.Event() for _ in range(CLOSED)]

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                next(event for event in closed if not event.is_set()).set()

        with socket.create_server(("127.0.0.1", 0), backlog=CLOSED) as listener, contextlib.ExitStack() as stack:
            for connection in [stack.enter_context(socket.socket()) for _ in range(CLOSED)]:
                connection.connect(listener.getsockname())
                connection.close()
            accepting = Counting(listener, Protocol, head=slots[0], others=slots[1:], tls={})
            while not all(event.is_set() for event in closed):
                slots[1].beat()  # it lives, and waits as well
                await asyncio.sleep(0)
            accepting.close()
        return accepting.pauses

    assert asyncio.run(pauses()) < CLOSED // 5


@pytest.mark.parametrize("busy", [0, 8], ids=["idle", "beside open connections"])
def test_a_stopped_worker_delays_no_connection(filled_store, tmp_path, busy):
    with two_workers(filled_store, tmp_path) as served, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(socket.create_connection(address(served))) for _ in range(busy)]
        for connection in kept:
            connection.sendall(REQUEST)
            assert is_answered(connection)
        stopped = workers_of(served)[0]
        os.kill(stopped.pid, signal.SIGSTOP)
        before = connections_of(stopped)
        seconds = []
        for connection in opened_at_once(served, stack):
            began = time.monotonic()
            connection.sendall(REQUEST)
            assert is_answered(connection)
            seconds.append(time.monotonic() - began)
        assert max(seconds) < 5, seconds
        assert connections_of(stopped) == before


def test_a_worker_without_files_leaves_connections_to_the_other(filled_store, tmp_path):
    with two_workers(filled_store, tmp_path) as served, contextlib.ExitStack() as stack:
        full = workers_of(served)[0]
        full.rlimit(resource.RLIMIT_NOFILE, (full.num_fds(), full.num_fds()))
        opened = opened_at_once(served, stack)
        for connection in opened:
            connection.sendall(REQUEST)
        assert all(map(is_answered, opened))
        assert connections_of(full) < CONNECTIONS // 8  # for files that it closed meanwhile

        def is_reported():
            """Where the other worker took all before this one had a turn, the next connection is left to it again."""
            with socket.create_connection(address(served)) as one_more:
                one_more.sendall(REQUEST)
                assert is_answered(one_more)
            return "no connection can be accepted for 1 s" in served.logged()

        wait_until(is_reported, served.log)
