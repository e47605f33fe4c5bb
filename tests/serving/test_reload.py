import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from podpower import settings
from podpower.errors import InvalidInput
from podpower.io.object_storage import ObjectStorage
from podpower.registry.artifacts import save_encoder, save_model
from podpower.registry.newest import FileSource, StoreSource
from podpower.registry.promotions import LATEST_FILE, Promotions
from podpower.registry.store import MODEL_FILE, ModelStore
from podpower_serving.models import Served
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from tests.serving.processes import service
from tests.serving.processes import wait_until as wait_for_process
from tests.waiting import until


@pytest.fixture(scope="module")
def pairs(make_pair):
    return [make_pair(watts) for watts in (1.0, 2.0)]


def test_a_promoted_model_is_taken_up_without_a_failed_request(running, tmp_path, pairs):
    store = ModelStore(tmp_path)
    first, second = (store.add(*pair) for pair in pairs)
    store.promote(first)
    seen, stop = [], threading.Event()

    with running(Settings(model_store=str(tmp_path), reload_seconds=0.05)) as client:

        def hammer():
            while not stop.is_set():
                answer = client.post("/predict", json=REQUEST_EXAMPLE)
                seen.append((answer.status_code, answer.json().get("model_version")))

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for version in (second, first, second):
                store.promote(version)
                until(lambda version=version: client.get("/model").json()["version"] == version)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} == {first, second}


def test_a_broken_model_is_refused_and_the_old_one_stays(running, tmp_path, pairs):
    store = ModelStore(tmp_path)
    first, second = (store.add(*pair) for pair in pairs)
    store.promote(first)
    with running(Settings(model_store=str(tmp_path), reload_seconds=0.05)) as client:
        (tmp_path / "versions" / second / MODEL_FILE).write_bytes(b"broken")
        promotions = Promotions(ObjectStorage(tmp_path))
        promotions.append(promotions.head(), second, action="promote")
        until(lambda: client.get("/model").json()["refused"])
        model = client.get("/model").json()
        assert (model["version"], model["refused"]["version"]) == (first, second)
        metrics = client.get("/metrics").text
        assert "podpower_model_refused_total 1.0" in metrics
        assert "podpower_newer_model_refused 1.0" in metrics
        assert client.get("/readyz").status_code == 200
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first
        store.promote(first)
        until(lambda: client.get("/model").json()["refused"] is None)
        assert "podpower_newer_model_refused 0.0" in client.get("/metrics").text


def test_a_store_that_is_away_is_reported_and_the_served_model_stays(running, tmp_path, pairs, caplog):
    """The log had `no model to serve yet` while one was served, and /model had nothing."""
    store = ModelStore(tmp_path / "models")
    version = store.add(*pairs[0])
    store.promote(version)
    with running(Settings(model_store=str(store.root), reload_seconds=0.05)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        store.root.rename(tmp_path / "away")
        until(lambda: client.get("/model").json()["refused"])
        assert client.get("/model").json()["version"] == version
        assert "no model any more" in client.get("/model").json()["refused"]["detail"]
        (tmp_path / "away").rename(store.root)
        until(lambda: client.get("/model").json()["refused"] is None)
    assert [record.message for record in caplog.records if "no model" in record.message] == [
        f"model of the source is refused, model {version} is served: it has no model any more: {StoreSource.remedy}"
    ]


def test_a_restart_on_a_damaged_model_serves_the_one_before(running, tmp_path, pairs):
    store = ModelStore(tmp_path)
    first, second = (store.add(*pair) for pair in pairs[:2])
    store.promote(first)
    store.promote(second)
    (tmp_path / "versions" / second / MODEL_FILE).write_bytes(b"broken")
    with running(Settings(model_store=str(tmp_path), reload_seconds=0.05)) as client:
        assert client.get("/readyz").status_code == 200
        model = client.get("/model").json()
        assert (model["version"], model["refused"]["version"]) == (first, second)
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first


def test_a_refused_model_is_read_again_ever_more_rarely(tmp_path, pairs, caplog):
    store, now, loads = ModelStore(tmp_path), [0.0], []
    first, second = (store.add(*pair) for pair in pairs)
    store.promote(first)
    store.promote(second)
    path = tmp_path / "versions" / second / MODEL_FILE
    whole = path.read_bytes()
    path.write_bytes(b"broken")

    class Counted(StoreSource):
        def load(self, name):
            loads.append((now[0], name))
            return super().load(name)

    served = Served(Counted(store), clock=lambda: now[0])
    for second_of_day in range(100):
        now[0] = float(second_of_day)
        served.refresh()
        assert served.predictor.version == first
        assert served.refused.version == second
    assert [at for at, name in loads if name == second] == [0, 2, 6, 14, 30, 62]
    warnings = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(warnings) == 1
    assert f"model {second} is refused, model {first} is served" in warnings[0]
    path.write_bytes(whole)
    now[0] = 126.0
    served.refresh()
    assert (served.predictor.version, served.refused) == (second, None)


def test_a_pipe_in_place_of_the_pointer_is_refused_and_the_served_model_stays(tmp_path, pairs):
    store = ModelStore(tmp_path / "models")
    first, second = (store.add(*pair) for pair in pairs)
    store.promote(first)
    environment = {"PODPOWER_MODEL_STORE": str(store.root), "PODPOWER_RELOAD_SECONDS": "0.1"}
    with service(tmp_path, environment=environment) as running, running.client() as client:
        pointer = tmp_path / "models" / LATEST_FILE
        pointer.unlink()
        os.mkfifo(pointer)
        wait_for_process(lambda: client.get("/model").json()["refused"], running.log)
        detail = client.get("/model").json()["refused"]["detail"]
        assert detail.startswith("the model store/latest.json is a pipe")  # no path of this machine
        assert "is a pipe" in running.logged()
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first
        pointer.unlink()
        store.promote(second)
        wait_for_process(lambda: client.get("/model").json()["version"] == second, running.log)
        assert client.get("/model").json()["refused"] is None
        pointer.unlink()
        os.mkfifo(pointer)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=60) == 0


@pytest.mark.parametrize("name", ["encoder.joblib", "knn_energy.joblib"])
def test_a_pipe_in_place_of_an_artifact_is_refused(tmp_path, pairs, name):
    save_encoder(pairs[0][0], tmp_path / "encoder.joblib")
    save_model(pairs[0][1], tmp_path / "knn_energy.joblib")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    paths = {"encoder_path": str(tmp_path / "encoder.joblib"), "model_path": str(tmp_path / "knn_energy.joblib")}
    served = Served(FileSource(**paths))
    served.refresh()
    assert "is a pipe" in served.refused.detail


def test_a_source_that_hangs_is_reported_and_left_for_another_thread(tmp_path, pairs, caplog):
    """A mount that is gone cannot be had in a test: its reader waits as for an event."""
    store, hanging, wakes = ModelStore(tmp_path), threading.Event(), threading.Event()
    first, second = (store.add(*pair) for pair in pairs)
    store.promote(first)
    seen = []

    class Mounted(StoreSource):
        def current(self):
            name = super().current()
            if hanging.is_set():
                seen.append(threading.get_ident())
                wakes.wait()
            return name

    async def follow():
        served = Served(Mounted(store), slow_seconds=0.5, give_up_seconds=1.25)
        await served.load()
        hanging.set()
        await served.load()
        assert (served.predictor.version, served.refused.version) == (first, None)
        await served.load()
        assert len(seen) == 1  # still the same look
        await served.load()
        hanging.clear()
        store.promote(second)
        await served.load()  # by another thread
        assert (served.predictor.version, served.refused) == (second, None)
        wakes.set()  # what the first one saw is old by now
        await asyncio.sleep(0.2)
        assert served.predictor.version == second

    asyncio.run(follow())
    assert len(set(seen)) == 1
    warnings = [record.getMessage() for record in caplog.records if "does not answer" in record.getMessage()]
    assert len(warnings) == 1
    assert f"model {first} is served" in warnings[0]


def test_explicit_files_are_served_and_followed(running, tmp_path, pairs):
    encoder_path, model_path = tmp_path / "encoder.joblib", tmp_path / "knn_energy.joblib"
    settings = Settings(encoder_path=str(encoder_path), model_path=str(model_path), reload_seconds=0.05)
    with running(settings) as client:
        assert client.get("/readyz").status_code == 503
        save_encoder(pairs[0][0], encoder_path)
        save_model(pairs[0][1], model_path)
        until(lambda: client.get("/readyz").status_code == 200)
        version = client.get("/model").json()["version"]
        save_model(pairs[1][1], model_path)
        until(lambda: client.get("/model").json()["version"] != version)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENCODER_PATH": "e"}, "MODEL_PATH"),
        ({"MODEL_PATH": "m"}, "ENCODER_PATH"),
        ({"PODPOWER_RELOAD_SECONDS": "often"}, "PODPOWER_RELOAD_SECONDS"),
        ({"PODPOWER_MAX_BODY_MIB": "-1"}, "PODPOWER_MAX_BODY_MIB"),
    ],
)
def test_wrong_settings_are_named(environment, words):
    with pytest.raises(InvalidInput, match=words):
        Settings.of(settings.Settings(environment))


def test_the_store_defaults_to_the_home():
    assert Settings.of(settings.Settings({"PODPOWER_HOME": "/data"})).model_store == "/data/models"


def test_the_service_imports_nothing_heavy():
    heavy = "{'dagster', 'polars', 'pandas', 'pyarrow', 'sklearn', 'matplotlib', 'torch'}"
    code = f"import sys, podpower_serving.app; sys.exit(' '.join({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
