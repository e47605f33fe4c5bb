"""Files that never answer: pipes that nobody writes to, and mounts that are gone."""

import asyncio
import json
import os
import signal
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from podpower.errors import PodpowerError
from podpower.fleet.summary import write_summary
from podpower.io.api_keys import line_of, new_key
from podpower.registry.store import ModelStore
from podpower_serving import fleet
from podpower_serving.access import Keys
from podpower_serving.metrics import Metrics
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.refreshing import NO_ANSWER, PatientLook, repeated
from podpower_serving.settings import Settings
from podpower_serving.tls import Certificates
from tests.serving.admission.fleets import summary_of
from tests.serving.admission.objects import an_object, sent
from tests.serving.processes import service, wait_until
from tests.serving.test_tls import Authority


def put_pipe(path):
    """Put a pipe in the place of a file, as nothing but another file does."""
    pipe = path.with_suffix(".pipe")
    os.mkfifo(pipe)
    pipe.replace(path)


def put(path, content):
    """Put a file in the place of a pipe, which a writer would wait at."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def stops(running):
    running.process.send_signal(signal.SIGTERM)
    return running.process.wait(timeout=60) == 0


def test_a_pipe_in_place_of_the_api_keys_is_refused_and_the_next_file_is_read(filled_store, tmp_path):
    first, second, path = new_key(), new_key(), tmp_path / "keys"
    path.write_text(line_of("first", first))
    environment = {
        "PODPOWER_MODEL_STORE": str(filled_store.root),
        "PODPOWER_API_KEYS_FILE": str(path),
        "PODPOWER_RELOAD_SECONDS": "0.1",
    }
    with service(tmp_path, environment=environment) as running, running.client() as client:

        def status(key):
            headers = {"Authorization": f"Bearer {key}"}
            return client.post("/predict", json=REQUEST_EXAMPLE, headers=headers).status_code

        put_pipe(path)
        wait_until(lambda: "is a pipe" in running.logged(), running.log)
        assert (status(first), status(second)) == (200, 401)
        put(path, line_of("second", second).encode())
        wait_until(lambda: status(second) == 200, running.log)
        assert status(first) == 401
        put_pipe(path)
        wait_until(lambda: running.logged().count("is a pipe") == 2, running.log)
        assert status(second) == 200
        assert stops(running)


def test_a_pipe_in_place_of_a_certificates_key_is_refused_and_the_next_file_is_read(filled_store, tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("localhost")
    options = ["--tls-cert", certificate, "--tls-key", key]
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_RELOAD_SECONDS": "0.1"}
    with service(tmp_path, *options, environment=environment, verify=False) as running:
        good, context = key.read_bytes(), ssl.create_default_context(cafile=authority.file)

        def status():
            url = running.url.replace("127.0.0.1", "localhost")
            return httpx.post(f"{url}/predict", json=REQUEST_EXAMPLE, verify=context, timeout=30).status_code

        put_pipe(key)
        wait_until(lambda: "a pipe" in running.logged(), running.log)
        assert status() == 200
        put(key, good)
        wait_until(lambda: "a renewed certificate is used" in running.logged(), running.log)
        assert status() == 200
        put_pipe(key)
        wait_until(lambda: running.logged().count("a pipe") == 2, running.log)
        assert stops(running)


def test_a_pipe_in_place_of_the_budgets_is_refused_and_the_next_file_is_read(running, tmp_path, pair, caplog):
    store, path = ModelStore(tmp_path / "models"), tmp_path / "budgets.yaml"
    store.promote(store.add(*pair))
    write_summary(store.root, summary_of(now_s=time.time(), watts={"shop": 49.0}))
    path.write_text(json.dumps({"shop": 50}))
    settings = Settings(model_store=str(store.root), budgets_file=str(path), budgets_seconds=0.05)
    with running(settings) as client:
        assert sent(client, an_object())["warnings"]
        put_pipe(path)
        wait_until(lambda: "is a pipe" in caplog.text)
        assert sent(client, an_object())["warnings"]
        put(path, json.dumps({"shop": 1e6}).encode())
        wait_until(lambda: "warnings" not in sent(client, an_object()))


@pytest.mark.parametrize("kind", ["keys", "certificate"])
def test_a_service_does_not_start_with_a_pipe(kind, filled_store, tmp_path):
    """It would wait for ever, and nobody would know why."""
    path = tmp_path / "file"
    os.mkfifo(path)
    with pytest.raises(PodpowerError, match="a pipe"):
        Keys(path) if kind == "keys" else Certificates(certificate=str(path), key=str(path))


class Mounted:
    """Files on a mount that can be gone, which cannot be had in a test: one reader waits as for an event."""

    def __init__(self):
        self.gone, self.back = threading.Event(), threading.Event()
        self.looks, self.hung, self.taken, self.refused = 0, None, [], []

    def look(self):
        self.looks += 1
        number = self.looks
        if self.gone.is_set() and self.hung is None:
            self.hung = number
            self.back.wait()
        return number

    def take(self, seen):
        self.taken.append(seen)

    def refuse(self, detail):
        self.refused.append(detail)


def test_files_that_hang_are_left_for_another_thread_and_delay_no_others():
    hanging, healthy = Mounted(), Mounted()
    looks = [PatientLook(hanging, name="hanging", slow_seconds=0.05, give_up_seconds=0.15)]
    looks.append(PatientLook(healthy, name="healthy"))

    async def until(done):
        while not done():
            await asyncio.sleep(0.01)

    async def follow():
        following = [asyncio.create_task(repeated(one.refresh, name=one.name, every_seconds=0.01)) for one in looks]
        await until(lambda: hanging.taken)
        hanging.gone.set()
        await until(lambda: hanging.hung and hanging.refused)
        before = len(healthy.taken)
        await until(lambda: len(healthy.taken) > before + 2)
        await until(lambda: hanging.taken[-1] > hanging.hung)  # by another thread
        assert looks[0].hanging
        hanging.back.set()
        await until(lambda: not looks[0].hanging)
        for task in following:
            task.cancel()

    asyncio.run(asyncio.wait_for(follow(), timeout=60))
    assert hanging.hung not in hanging.taken  # what it saw is old by now
    assert set(hanging.refused) == {NO_ANSWER}
    assert healthy.refused == []


def test_pages_are_answered_while_the_fleet_summary_hangs(running, tmp_path, pair, monkeypatch):
    """More of them than there are threads that would wait for it."""
    store, gone, back = ModelStore(tmp_path / "models"), threading.Event(), threading.Event()
    store.promote(store.add(*pair))
    write_summary(store.root, summary_of(now_s=time.time(), watts={"shop": 49.0}))
    read = fleet.read_summary

    def mounted(root):
        if gone.is_set():
            back.wait()
        return read(root)

    monkeypatch.setattr(fleet, "read_summary", mounted)
    monkeypatch.setattr(fleet, "_KEPT_SECONDS", 0.05)
    monkeypatch.setattr(fleet, "_PATIENCE_SECONDS", 0.2)
    with running(Settings(model_store=str(store.root))) as client, ThreadPoolExecutor(16) as many:
        wait_until(lambda: "shop" in client.get("/fleet").text)
        gone.set()
        wait_until(lambda: "does not answer" in client.get("/fleet").text)
        answers = list(many.map(client.get, ["/fleet", "/metrics/fleet"] * 16))
        assert {answer.status_code for answer in answers} == {200}
        assert all("shop" in answer.text for answer in answers)
        gone.clear()
        back.set()
        wait_until(lambda: "does not answer" not in client.get("/fleet").text)


def test_an_exception_ends_no_following(caplog):
    number = 0

    async def refresh():
        nonlocal number
        number += 1
        raise OSError("away")

    async def follow():
        following = asyncio.create_task(repeated(refresh, name="models", every_seconds=0.001))
        while number < 3:
            await asyncio.sleep(0.001)
        assert not following.done()
        following.cancel()

    asyncio.run(asyncio.wait_for(follow(), timeout=60))
    assert caplog.text.count("models could not be read again; what was read before stays") >= 2


def test_keys_that_do_not_answer_are_reported_once_and_counted(tmp_path, caplog):
    path, key, metrics = tmp_path / "keys", new_key(), Metrics()
    path.write_text(line_of("first", key))
    keys = Keys(path, metrics=metrics)
    for _ in range(3):
        keys.refuse(NO_ANSWER)
    assert caplog.text.count("does not answer") == 1
    keys.take(keys.look())
    keys.refuse(NO_ANSWER)
    assert caplog.text.count("does not answer") == 2
    assert keys.name_of(key.encode()) == "first"
