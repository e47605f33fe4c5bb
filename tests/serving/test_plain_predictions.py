"""The quick way of small JSON bodies: the same bytes as through the framework, alone and in a batch."""

import asyncio
import gc
import json
import weakref

import httpx
import pytest

from podpower.model.predictor import Predictor
from podpower.specs.requests import Container, InferenceRequest
from podpower_serving.micro_batching import MAX_ROWS, Batcher
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.plain_predictions import MAX_BYTES

QUICK = {"Content-Type": "application/json"}
FRAMEWORK = {"Content-Type": "application/json; charset=utf-8"}


def body(number, **fields):
    container = {
        "name": "a",
        "image": f"acme/app{number % 6}:{number}",
        "req_cpu_mcpu": 10 * number,
        "args": ["--quiet"],
    }
    return json.dumps(
        {"workload_kind": "Deployment", "workload_name": f"w{number}", "containers": [container], **fields}
    )


def request(number):
    return InferenceRequest(
        workload_kind="Deployment",
        workload_name=f"w{number}",
        containers=[Container(name="c", image=f"acme/app{number % 6}:1", req_cpu_mcpu=10.0 * number)],
    )


def test_concurrent_requests_get_the_bytes_that_each_gets_alone(client):
    bodies = [body(number, annotations={"note": "A long text of Words, " * 3}) for number in range(100)]
    alone = [client.post("/predict", content=one, headers=FRAMEWORK).content for one in bodies]

    async def at_once():
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=client.base_url, limits=limits, timeout=30) as many:
            posts = [many.post("/predict", content=one, headers=QUICK) for one in bodies]
            return [answer.content for answer in await asyncio.gather(*posts)]

    assert asyncio.run(at_once()) == alone


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b'{"workload_kind": "Job", "workload_name": "w", "containers": [{}], "unknown": "\xff"}',
        b"[" * 10_000,
        b"[]",
        body(1, replicas="x").encode(),
        body(1, schedule="every day").encode(),
        body(1, gpu_count=None).encode(),
        body(1, labels={"note": "x" * MAX_BYTES}).encode(),
        b'{"workload_kind": "Job", "workload_name": "w", "pod_spec": {"containers": [{"name": "a", "image": "b"}]}}',
    ],
)
def test_what_is_not_plain_is_answered_by_the_framework(client, content):
    quick, framework = (
        client.post("/predict", content=content, headers=given | {"X-Request-ID": "one"})
        for given in (QUICK, FRAMEWORK)
    )
    assert (quick.status_code, quick.content) == (framework.status_code, framework.content)


def test_a_chunked_body_and_a_wrong_media_type_are_answered_by_the_framework(client):
    chunked = client.post("/predict", content=iter([json.dumps(REQUEST_EXAMPLE).encode()]), headers=QUICK)
    assert chunked.content == client.post("/predict", json=REQUEST_EXAMPLE).content
    assert client.post("/predict", content=body(1), headers={"Content-Type": "image/png"}).status_code == 415
    encoded = client.post("/predict", content=body(1), headers=QUICK | {"Content-Encoding": "gzip"})
    assert encoded.status_code == 415


class Counted(Predictor):
    """A predictor that counts its calls and has a bug."""

    def __init__(self, pair, version="v"):
        super().__init__(*pair, version=version)
        self.sizes = []

    def predict(self, requests):
        self.sizes.append(len(requests))
        if any(one.workload_name == "w13" for one in requests):
            raise ZeroDivisionError
        return super().predict(requests)


def predicted(*asked):
    async def run():
        batcher = Batcher()
        return await asyncio.gather(*(batcher.predict(*one) for one in asked), return_exceptions=True)

    return asyncio.run(run())


def test_requests_of_one_moment_are_one_batch_of_a_bounded_size(pair):
    predictor = Counted(pair)
    found = predicted(*((predictor, request(number)) for number in range(20, 20 + MAX_ROWS + 10)))
    assert predictor.sizes == [MAX_ROWS, 10]
    assert found == [Predictor(*pair, version="v").predict([request(number)])[0] for number in range(20, 94)]


def predicted_in_turns(predictor, delays):
    """Begin a request after each number of turns of the event loop."""

    async def one(batcher, number, delay):
        for _ in range(delay):
            await asyncio.sleep(0)
        return await batcher.predict(predictor, request(20 + number))

    async def run():
        batcher = Batcher()
        await asyncio.gather(*(one(batcher, number, delay) for number, delay in enumerate(delays)))

    asyncio.run(run())


def test_requests_that_turns_in_a_row_bring_are_one_batch(pair):
    predictor = Counted(pair)
    predicted_in_turns(predictor, range(10))
    assert predictor.sizes == [10]


def test_a_batch_ends_with_a_turn_that_brings_no_request(pair):
    predictor = Counted(pair)
    predicted_in_turns(predictor, (0, 0, 9, 9, 10))
    assert predictor.sizes == [2, 3]


def test_a_stream_of_requests_cannot_hold_a_batch_back(pair):
    predictor = Counted(pair)
    predicted_in_turns(predictor, range(2 * MAX_ROWS + 5))
    assert max(predictor.sizes) == MAX_ROWS
    assert sum(predictor.sizes) == 2 * MAX_ROWS + 5


def test_a_request_that_fails_fails_alone(pair):
    predictor = Counted(pair)
    found = predicted(*((predictor, request(number)) for number in range(10, 16)))
    assert [type(one).__name__ for one in found].count("Prediction") == 5
    assert isinstance(found[3], ZeroDivisionError)


def test_each_request_is_predicted_by_the_model_it_began_with(pair):
    old, new = Counted(pair, "old"), Counted(pair, "new")
    found = predicted((old, request(1)), (new, request(2)), (old, request(3)))
    assert [one.model_version for one in found] == ["old", "new", "old"]


def test_a_replaced_model_is_freed_without_a_garbage_collection(pair):
    predictor = Predictor(
        type(pair[0]).from_state(pair[0].state()), type(pair[1]).from_state(pair[1].state()), version="v"
    )
    predictor.explain([request(1)])
    parts = [weakref.ref(part) for part in (predictor, predictor.model, predictor.encoder)]
    gc.disable()
    try:
        del predictor
        assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()
