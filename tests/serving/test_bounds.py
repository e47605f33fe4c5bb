"""Query parameters, totals of nothing known, bounds in OpenAPI, and the event loop."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest

from podpower.kubernetes.limits import MAX_COUNT, MAX_CPU_MCPU, MAX_DEVICES, MAX_MEMORY_MIB, MAX_WORDS
from podpower_serving.app import create_app
from podpower_serving.openapi import MANIFEST_EXAMPLE, REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from tests.serving.test_delays import short_turns, turn_s
from tests.waiting import until


def ok(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/predict/batch", "clutser=x", 'no query parameter "clutser"; did you mean cluster?'),
        ("/predict/from-yaml", "node=3", 'no query parameter "node"; did you mean nodes?'),
        ("/infer/from-yaml", "leniant=true", "did you mean lenient?"),
        ("/predict/batch", "zzz=1", 'no query parameter "zzz"; there are nodes, lenient, cluster'),
        ("/predict", "cluster=x", "this path has no query parameters"),
        ("/predict/from-yaml", "nodes=1&nodes=x", "nodes: given more than once"),
        ("/predict/batch", "token%3DhunterHunter2=1", 'no query parameter "token=<redacted>"'),
        ("/predict/batch", "nodes=token%3DhunterHunter2", 'nodes: must be a whole number from 0 to 9999999; got "tok'),
        ("/predict/batch", "cluster=token%3DhunterHunter2", "cluster: must be a name of at most 253 plain characters"),
        ("/predict/batch", "cluster=a%1b%5b2J", "cluster: must be a name"),
    ],
)  # fmt: skip
def test_a_wrong_query_parameter_is_named_with_the_nearest_right_one(client, path, query, said):
    media_type = "application/json" if path == "/predict" else "application/yaml"
    answer = client.post(f"{path}?{query}", content=MANIFEST_EXAMPLE, headers={"Content-Type": media_type})
    detail = problem(answer, 422)
    assert said in detail
    assert "Hunter" not in detail


def test_a_misspelt_kind_is_reported_once_and_a_total_of_nothing_known_is_unknown(client):
    body = MANIFEST_EXAMPLE.replace("kind: Deployment", "kind: Deploymnt")
    answer = ok(client.post("/predict/batch", content=body, headers={"Content-Type": "application/yaml"}))
    assert [error["index"] for error in answer["errors"]] == [0]
    assert (answer["predictions"], answer["skipped"]) == ([], [])
    assert answer["total"]["total_avg_power_w"] is None
    assert answer["total"]["kwh_month"] is None


def test_openapi_shows_the_bounds_that_are_enforced(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    container, request = schemas["Container"]["properties"], schemas["InferenceRequest"]["properties"]

    def bound(schema, name):  # of what is not null
        return next(kind[name] for kind in schema["anyOf"] if kind["type"] != "null")

    assert {bound(container[f"{side}_cpu_mcpu"], "maximum") for side in ("req", "lim")} == {MAX_CPU_MCPU}
    assert {bound(container[f"{side}_mem_mib"], "maximum") for side in ("req", "lim")} == {MAX_MEMORY_MIB}
    counts = ("replicas", "parallelism", "completions")
    assert {bound(request[name], "maximum") for name in counts} == {MAX_COUNT}
    assert bound(request["gpu_count"], "maximum") == MAX_DEVICES
    assert bound(container["args"], "maxItems") == MAX_WORDS
    spoilt = {**REQUEST_EXAMPLE, "containers": [{"name": "a", "req_cpu_mcpu": 1e308}]}
    assert "containers[0].req_cpu_mcpu: must be at most 1000000000" in problem(
        client.post("/predict", json=spoilt), 422
    )


DENSE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {list: [" + "a list of texts, " * 60_000 + "a]}\n"


def test_the_event_loop_goes_on_while_dense_yaml_is_read(filled_store):
    """In one process with the service, so that the longest pause of its own loop is measured: other processes of the
    machine do not count.
    """

    async def longest_pause_s():
        app = create_app(Settings(model_store=str(filled_store.root)))
        pauses = []

        async def tick():
            while True:
                pauses.append(await turn_s())

        async with app.lifespan():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app", timeout=60) as client:
                ticking = asyncio.create_task(tick())
                for path in ("/predict/batch", "/predict/from-yaml", "/infer/from-yaml"):
                    await client.post(path, content=DENSE, headers={"Content-Type": "text/yaml"})
                ticking.cancel()
        return sorted(pauses)[-1], len(pauses)

    with short_turns():
        longest_s, ticks = asyncio.run(longest_pause_s())
    assert ticks > 20
    assert longest_s < 0.15  # 50 ms on a machine of its own


def is_answered(connection, rest):
    connection.sendall(rest)
    return connection.recv(12) == b"HTTP/1.1 200"


def test_large_bodies_have_a_bound_together_and_small_requests_are_answered_beside_them(running, filled_store):
    size = 200_000
    large = json.dumps([REQUEST_EXAMPLE] * 10).encode().ljust(size)
    review = b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u1", "x": "'
    head = b"POST /predict/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    def status(client):
        return client.post("/predict/batch", content=large, headers={"Content-Type": "application/json"}).status_code

    with running(Settings(model_store=str(filled_store.root), max_body_bytes=size)) as client:
        assert status(client) == 200
        with contextlib.ExitStack() as stack:
            held = []

            def is_full():
                """Hold one more until there is no room: bodies that arrive beside a request can be what is refused."""
                if status(client) == 503:
                    return True
                address = (client.base_url.host, client.base_url.port)
                held.append(stack.enter_context(socket.create_connection(address, timeout=30)))
                held[-1].sendall(head % size + large[:-1])
                return False

            until(is_full, seconds=30)
            assert len(held) >= 16
            refused = client.post("/predict/batch", content=large, headers={"Content-Type": "application/json"})
            assert refused.headers["retry-after"]
            assert "large bodies" in problem(refused, 503)
            ok(client.post("/predict", json=REQUEST_EXAMPLE))
            ok(client.post("/predict/batch", json=[REQUEST_EXAMPLE] * 50))
            allowed = ok(client.post("/admission", content=review.ljust(size, b"x") + b'"}}'))["response"]
            assert (allowed["uid"], allowed["allowed"]) == ("u1", True)
            assert any(is_answered(one, large[-1:]) for one in held)
            until(lambda: status(client) == 200, seconds=30)
        until(lambda: [status(client) for _ in range(20)] == [200] * 20, seconds=30)
