"""No request delays another one: the event loop has its turn while the largest legal and illegal bodies are read."""

import asyncio
import gc
import json
import socket
import subprocess
import sys
import time

import msgspec
import uvicorn

from podpower.client.answers import Batch
from podpower.model.predictor import Predictor
from podpower.specs.requests import Container, InferenceRequest
from podpower_serving.app import create_app
from podpower_serving.encoding import encoded_batch, encoded_list
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import switch_soon

DELAY_S = 0.05
DOCUMENT_S = 0.015  # to make it takes 50 ms
REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
SENDER = """
import pathlib, sys, httpx
port, *given = sys.argv[1:]
for path, body in zip(given[::2], given[1::2]):
    content, url = pathlib.Path(body).read_bytes(), f"http://127.0.0.1:{port}{path}"
    print(httpx.post(url, content=content, headers={"Content-Type": "application/json"}, timeout=120).status_code)
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


async def longest_pause_s(settings, sender):
    """Return the most CPU seconds that the process used between turns of the event loop, and how many turns there
    were, while `sender` ran: whatever else the machine computes, this is how long others had to wait.
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
            began = time.process_time()
            await asyncio.sleep(0.001)
            pauses.append(time.process_time() - began)
        server.should_exit = True
        await serving
    return sorted(pauses)[-5:], len(pauses), (await ended)[0].decode().split()


def test_a_large_body_delays_no_other_request_by_more_than_50_ms(filled_store, tmp_path):
    paths = []
    for number, (path, body) in enumerate(large_bodies()):
        (tmp_path / str(number)).write_bytes(body)
        paths += [path, str(tmp_path / str(number))]
    interval = sys.getswitchinterval()
    switch_soon()
    gc.collect()
    gc.freeze()  # what the suite has loaded is no part of the service
    try:
        settings = Settings(model_store=str(filled_store.root))
        longest, turns, statuses = asyncio.run(
            longest_pause_s(settings, lambda port: [sys.executable, "-c", SENDER, str(port), *paths])
        )
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
    assert statuses == ["422", "422", "422", "200", "200"]
    assert turns > 100
    assert longest[-1] < DELAY_S, longest


READER = """
import sys, httpx
for path in sys.argv[2:]:
    print(httpx.get(f"http://127.0.0.1:{sys.argv[1]}{path}", timeout=60).status_code)
"""


def test_the_first_openapi_document_delays_no_other_request(filled_store):
    settings = Settings(model_store=str(filled_store.root))
    longest, _, statuses = asyncio.run(
        longest_pause_s(settings, lambda port: [sys.executable, "-c", READER, str(port), "/openapi.json", "/docs"])
    )
    assert statuses == ["200", "200"]
    assert longest[-1] < DOCUMENT_S, longest


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
        assert encoded_batch(batch) == msgspec.json.encode(batch)
        assert encoded_list(requests[:count]) == msgspec.json.encode(requests[:count])
