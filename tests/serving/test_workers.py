"""Several workers that share one port: replaced, drained, counted together."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import httpx
import psutil
import pytest

from podpower.registry.store import ModelStore
from podpower_serving.openapi import REQUEST_EXAMPLE
from tests.serving.processes import service, wait_until
from tests.serving.test_metrics import scraped


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_pair):
    store = ModelStore(tmp_path_factory.mktemp("workers") / "models")
    store.promote(store.add(*make_pair(1.0)))
    return store


@contextlib.contextmanager
def two_workers(store, folder, **variables):
    environment = {
        "PODPOWER_MODEL_STORE": str(store.root),
        "PODPOWER_RELOAD_SECONDS": "0.2",
        "PODPOWER_WORKER_TIMEOUT_SECONDS": "3",
        **variables,
    }
    with service(folder, "--workers", "2", environment=environment) as running:
        wait_until(lambda: running.logged().count("Application startup complete") == 2, running.log)
        yield running


@pytest.fixture(scope="module")
def served(store, tmp_path_factory):
    """One service for the tests below, in any order."""
    with two_workers(store, tmp_path_factory.mktemp("service")) as running:
        yield running


def workers_of(served):
    return [child.pid for child in psutil.Process(served.process.pid).children()]


def one_request(served):
    """Each on a connection of its own, so that both workers answer some."""
    return httpx.post(f"{served.url}/predict", json=REQUEST_EXAMPLE, timeout=30)


def counted(served):
    with served.client() as client:
        return scraped(client)


PREDICTED = ("podpower_http_requests_total", "POST", "/predict", "200")


def test_requests_of_both_workers_are_counted_together(served):
    before = counted(served)
    for _ in range(40):
        assert one_request(served).status_code == 200
    wait_until(lambda: counted(served)[PREDICTED] - before.get(PREDICTED, 0) == 40, served.log)
    wait_until(lambda: counted(served)["podpower_http_connections",] == 1, served.log)
    assert counted(served)["podpower_workers_started_total",] >= 2


def test_a_killed_worker_is_replaced_and_its_counts_stay(served):
    before, counts = workers_of(served), counted(served)
    starts = served.logged().count("Application startup complete")
    for _ in range(20):
        one_request(served)
    wait_until(lambda: counted(served)[PREDICTED] - counts.get(PREDICTED, 0) == 20, served.log)  # after the answers
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: served.logged().count("Application startup complete") == starts + 1, served.log)
    assert len(workers_of(served)) == 2
    assert before[1] in workers_of(served)
    assert all(one_request(served).status_code == 200 for _ in range(20))
    wait_until(lambda: counted(served)[PREDICTED] - counts.get(PREDICTED, 0) == 40, served.log)
    assert counted(served)["podpower_workers_started_total",] - counts["podpower_workers_started_total",] == 1
    assert "SIGKILL" in served.logged()


def test_a_stopped_worker_is_replaced(served):
    before, starts = workers_of(served), served.logged().count("Application startup complete")
    os.kill(before[0], signal.SIGSTOP)
    wait_until(lambda: served.logged().count("Application startup complete") == starts + 1, served.log)
    assert before[0] not in workers_of(served)
    assert before[1] in workers_of(served)
    assert "has not responded for 3 s" in served.logged()
    assert all(one_request(served).status_code == 200 for _ in range(8))


def test_a_promoted_model_is_noticed_by_all(served, store, make_pair):
    version = store.add(*make_pair(2.0))
    store.promote(version)
    wait_until(lambda: {one_request(served).json()["model_version"] for _ in range(8)} == {version}, served.log)


@pytest.fixture
def ended(store, tmp_path):
    """A service of one test, which ends it."""
    with two_workers(store, tmp_path, PODPOWER_DRAIN_SECONDS="30") as running:
        yield running


def test_sigterm_drains_all_without_a_failed_request(ended):
    served, statuses, stop = ended, [], threading.Event()

    def hammer():
        with served.client() as client:
            while not stop.is_set():
                statuses.append(client.post("/predict", json=REQUEST_EXAMPLE).status_code)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) >= 20, served.log)
    served.process.send_signal(signal.SIGTERM)
    wait_until(lambda: served.logged().count("stopping: not ready any more") == 2, served.log)
    with served.client() as client:
        assert client.get("/readyz").status_code == 503
    draining = len(statuses)
    wait_until(lambda: len(statuses) >= draining + 20, served.log)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert served.process.wait(timeout=60) == 0
    assert served.logged().count("Finished server process") == 2


def test_workers_end_when_the_process_that_started_them_is_killed(store, tmp_path):
    with two_workers(store, tmp_path) as running:
        workers = [psutil.Process(pid) for pid in workers_of(running)]
        running.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive


def test_a_service_that_is_stopped_while_its_workers_start_ends_with_0(store, tmp_path):
    environment = {"PODPOWER_MODEL_STORE": str(store.root)}
    with service(tmp_path, "--workers", "2", environment=environment, ready=False) as running:
        wait_until(lambda: "worker 1 is process" in running.logged())
        running.process.terminate()
        assert running.process.wait(timeout=60) == 0, running.logged()


WITHOUT_ROOM = """
import errno, logging, os, select, sys, time
from podpower_serving.workers import Workers

fork, forks = os.fork, []

def scarce():
    forks.append(1)
    if len(forks) == 2:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

def work(number, parent):
    print("started", number, flush=True)
    select.select([parent], [], [])

os.fork = scarce
logging.basicConfig(level=logging.INFO)
beats = lambda number: time.monotonic_ns()
sys.exit(Workers(work, number=2, drain_seconds=0, release=lambda: None, beats=beats, hung_seconds=60).run())
"""


def test_no_room_for_another_process_ends_no_service():
    """A limit of processes cannot be set for root: the second fork fails as beyond one. It ended the whole service."""
    command = [sys.executable, "-c", WITHOUT_ROOM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["started 0\n", "started 1\n"]
        process.terminate()
        logged = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "worker 1 is not started: Resource temporarily unavailable; again in 1 s" in logged
