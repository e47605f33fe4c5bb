"""No request delays another one: the event loop has its turn while the largest legal and illegal bodies are read."""

import asyncio
import contextlib
import gc
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import uvicorn

from podpower.client.answers import Batch, DifferenceAnswer
from podpower.difference.changes import Totals
from podpower.impact.assessment import Inputs
from podpower.model.predictor import Predictor
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.selection import Options
from podpower_serving import batch_bodies
from podpower_serving.app import create_app, spare_loaded
from podpower_serving.encoding import encoded_batch, encoded_difference, encoded_list, encoded_rows
from podpower_serving.metrics import Metrics
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import switch_soon

DELAY_S = 0.05
BATCH_S = 0.03
MOST_ALIVE = 10_000
DOCUMENT_S = 0.015  # to make it takes 50 ms
WORK_S = 0.006  # that `work` takes where the bounds above hold
REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
SENDER = """
import pathlib, sys, httpx
port, *given = sys.argv[1:]
for path, body in zip(given[::2], given[1::2]):
    content, (path, _, media_type) = pathlib.Path(body).read_bytes(), path.partition(" ")
    headers = {"Content-Type": media_type or "application/json"}
    print(httpx.post(f"http://127.0.0.1:{port}{path}", content=content, headers=headers, timeout=120).status_code)
"""


def request(number):
    container = {"name": "a", "image": f"acme/app{number % 40}:{number}", "req_cpu_mcpu": 10 + number % 900}
    return {"workload_kind": "Job", "workload_name": f"w{number}", "containers": [container]}


def large_bodies():
    for containers in ([{"name": "a", "image": "b", "args": ["--a"] * 300_000}], [{"name": "a"}] * 100_000):
        yield "/predict", json.dumps(REQUEST_EXAMPLE | {"containers": containers}).encode()
    yield "/predict/batch", b"[" + b"{}," * 1_000_000 + b"{}]"
    yield "/predict/batch", json.dumps([request(number) for number in range(10_000)]).encode()
    review = {"uid": "1", "operation": "CREATE", "object": [{}] * 2_000_000}
    yield "/admission", json.dumps({**REVIEW, "request": review}, separators=(",", ":")).encode()


def work():
    """A fixed amount of it, such as a request needs."""
    for _ in range(200):
        json.loads(json.dumps([request(number) for number in range(10)]))


def slower():
    """Return how many times slower than the machine of the bounds this one is, at least 1."""
    seconds = []
    for _ in range(5):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return max(1.0, min(seconds) / WORK_S)


def dense_bodies():
    """Bodies of as many small parts as fit: a single call that reads all of them would take 100 to 400 ms."""
    yield "/predict/batch", b"[" + b"1," * 1_900_000 + b"1]"
    yield "/predict/batch application/x-ndjson", b"11\n" * 2_700_000
    fields = ",".join(f'"{number:x}":1' for number in range(800_000))
    yield "/predict", f"{{{fields}}}".encode()
    yield "/diff", f'{{"old":{{{fields}}},"new":""}}'.encode()
    form = " application/x-www-form-urlencoded"
    yield f"/estimate{form}", b"manifest=" + b"%41" * 2_700_000
    yield f"/estimate{form}", b"manifest=" + "a\u00e4".encode() * 2_700_000 + b"%41"


def test_a_dense_body_delays_no_other_request_by_more_than_50_ms(filled_store, tmp_path):
    """Fields, rows, lines and escapes by the hundred thousand held all others for up to 400 ms, each body again."""
    paths = []
    for number, (path, body) in enumerate(dense_bodies()):
        (tmp_path / str(number)).write_bytes(body)
        paths += [path, str(tmp_path / str(number))]
    with short_turns():
        settings = Settings(model_store=str(filled_store.root))
        longest, _, statuses = asyncio.run(
            longest_pause_s(settings, lambda port: [sys.executable, "-c", SENDER, str(port), *paths])
        )
    assert set(statuses) <= {"400", "422"}
    assert longest[-1] < DELAY_S * slower(), longest


def without_core_s():
    """Return how long this thread has been ready to run in all and had no core, beside other processes."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not every system knows
        return 0.0


async def turn_s():
    """Return how long the event loop was kept from a turn: not by others that had its core, nor longer than this
    process computed.
    """
    began, computed, waited = time.perf_counter(), time.process_time(), without_core_s()
    await asyncio.sleep(0.001)
    waited = without_core_s() - waited
    return min(time.process_time() - computed, time.perf_counter() - began - waited)


async def longest_pause_s(settings, sender):
    """Return the longest times between turns of the event loop, and how many turns there were, while `sender` ran:
    whatever else the machine computes, this is how long others had to wait.
    """
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        process = await asyncio.create_subprocess_exec(*sender(listener.getsockname()[1]), stdout=subprocess.PIPE)
        ended = asyncio.create_task(process.communicate())
        while not ended.done():
            pauses.append(await turn_s())
        server.should_exit = True
        await serving
    return sorted(pauses)[-5:], len(pauses), (await ended)[0].decode().split()


@contextlib.contextmanager
def short_turns():
    """Threads and garbage collections as in a process of the service."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    switch_soon()
    spare_loaded()  # what the suite has loaded is no part of the service
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


def test_a_large_body_delays_no_other_request_by_more_than_50_ms(filled_store, tmp_path):
    paths = []
    for number, (path, body) in enumerate(large_bodies()):
        (tmp_path / str(number)).write_bytes(body)
        paths += [path, str(tmp_path / str(number))]
    with short_turns():
        settings = Settings(model_store=str(filled_store.root))
        longest, turns, statuses = asyncio.run(
            longest_pause_s(settings, lambda port: [sys.executable, "-c", SENDER, str(port), *paths])
        )
    assert statuses == ["422", "422", "422", "200", "200"]
    assert turns > 100
    assert longest[-1] < DELAY_S * slower(), longest


def test_a_large_batch_delays_no_other_request_by_more_than_30_ms(filled_store, tmp_path):
    """No part of it takes long: neither its decoding, nor a garbage collection, nor the end of all its objects."""
    (tmp_path / "body").write_bytes(json.dumps([request(number) for number in range(10_000)]).encode())
    given = ["/predict/batch", str(tmp_path / "body")] * 3
    with short_turns():
        settings = Settings(model_store=str(filled_store.root))
        longest, _, statuses = asyncio.run(
            longest_pause_s(settings, lambda port: [sys.executable, "-c", SENDER, str(port), *given])
        )
    assert statuses == ["200"] * 3
    assert longest[-1] < BATCH_S * slower(), longest


def test_a_batch_leaves_little_to_a_garbage_collection(pair):
    """Which would look at whatever lives while all requests wait."""
    alive = []

    class Counting(Metrics):
        def predicted_part(self, predictions):
            alive.append(gc.get_count()[0])

    # Of forty texts, which are kept from then on.
    body = json.dumps([{**request(number % 40), "namespace": f"n{number}"} for number in range(10_000)]).encode()
    given = {"media_type": "application/json", "options": Options(max_objects=10_000), "inputs": Inputs()}
    predictor = Predictor(*pair, version="v")
    batch_bodies.answer(predictor, Counting(), body, **given)
    alive.clear()
    gc.collect()
    gc.disable()
    try:
        found = json.loads(batch_bodies.answer(predictor, Counting(), body, **given))
    finally:
        gc.enable()
    assert len(found["predictions"]) == found["total"]["workloads"] == 10_000
    assert len(alive) == 10_000 // batch_bodies.PART_ROWS + 1
    assert max(alive) < MOST_ALIVE, max(alive)


READER = """
import sys, httpx
for path in sys.argv[2:]:
    print(httpx.get(f"http://127.0.0.1:{sys.argv[1]}{path}", timeout=60).status_code)
"""


def test_the_first_openapi_document_delays_no_other_request(filled_store):
    settings = Settings(model_store=str(filled_store.root))
    with short_turns():
        longest, _, statuses = asyncio.run(
            longest_pause_s(settings, lambda port: [sys.executable, "-c", READER, str(port), "/openapi.json", "/docs"])
        )
    assert statuses == ["200", "200"]
    assert longest[-1] < DOCUMENT_S * slower(), longest


def test_an_answer_encoded_in_parts_has_the_bytes_of_one_encoded_at_once(pair):
    predictor = Predictor(*pair, version="v")
    requests = [
        InferenceRequest(workload_kind="Job", workload_name=f"w{number}", containers=[Container(image="a")])
        for number in range(600)
    ]
    for count in (0, 1, 255, 256, 600):
        predictions = predictor.predict(requests[:count])
        total = predictor.total(predictions)
        batch = Batch(predictions=predictions, skipped=[], errors=[], total=total, inputs={"scope": "dynamic"})
        parts = [encoded_rows(predictions[start : start + 256]) for start in range(0, count, 256)]
        rest = msgspec.structs.replace(batch, predictions=[])
        assert encoded_batch(parts, rest) == msgspec.json.encode(batch)
        assert encoded_list(requests[:count]) == msgspec.json.encode(requests[:count])
        totals = Totals(old=total, new=total, delta=None)
        answer = DifferenceAnswer(changes=requests[:count], total=totals, unchanged=3, errors=[], inputs={})
        assert encoded_difference(answer) == msgspec.json.encode(answer)
