"""Ids of requests and the log, over a real socket."""

import json
import os
import re
import subprocess
import sys

import httpx
import pytest

from podpower.io.api_keys import line_of, new_key
from podpower_serving.openapi import REQUEST_EXAMPLE
from tests.serving.processes import is_ready, service, wait_until

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("given", ["a", "0af7651916cd43dd8448eb211c80319c", "x" * 128, 'a/b:c=d"'])
def test_a_short_printable_id_is_kept_on_every_way(client, given):
    headers = {"X-Request-ID": given}
    assert client.post("/predict", json=REQUEST_EXAMPLE, headers=headers).headers["x-request-id"] == given
    assert client.get("/model", headers=headers).headers["x-request-id"] == given
    problem = client.post("/predict", content=b"{", headers=headers | JSON)
    assert (problem.headers["x-request-id"], problem.json()["request_id"]) == (given, given)


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb", "\xe4"])
def test_any_other_id_is_replaced(client, given):
    headers = {} if given is None else {"X-Request-ID": given.encode("latin-1")}
    ids = {client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(50)}
    assert len(ids) == 50
    assert given not in ids
    assert all(len(one) == 16 and one.isalnum() for one in ids)


def test_the_log_has_a_json_line_for_each_request_without_secrets(filled_store, tmp_path):
    key = new_key()
    (tmp_path / "keys").write_text(line_of("ci", key))
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root), "PODPOWER_API_KEYS_FILE": str(tmp_path / "keys")}
    secret = "hunter2Hunter2"
    spec = {**REQUEST_EXAMPLE, "annotations": {"token": secret}}
    with service(tmp_path, "--log-format", "json", environment=environment) as running:
        with running.client(key) as client:
            for number in range(3):
                client.post("/predict", json=spec, headers={"X-Request-ID": f"id-{number}"})
            client.post(f"/predict?token={secret}", json=spec)
            client.post("/predict/batch", content=f"[{{{secret}}}]", headers=JSON)
            client.get(f"/models/token={secret}/report")
            client.get("/%1b%5b31m", headers={"Authorization": f"Bearer {secret}"})
        running.process.terminate()
        assert running.process.wait(timeout=60) == 0
    lines = [json.loads(line) for line in running.logged().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    requests = [line for line in lines if line["logger"] == "podpower.access" and line["route"] != "/readyz"]
    assert [(line["method"], line["route"], line["status"]) for line in requests] == [
        *[("POST", "/predict", 200)] * 3,
        ("POST", "/predict", 422),
        ("POST", "/predict/batch", 400),
        ("GET", "/models/{version}/report", 404),
        ("GET", "other", 401),
    ]
    assert [line["request_id"] for line in requests[:3]] == ["id-0", "id-1", "id-2"]
    assert {line["caller"] for line in requests[:-1]} == {"ci"}
    assert all(line["client"] == "127.0.0.1" and line["duration_ms"] > 0 for line in requests)
    assert secret not in running.logged()
    assert key not in running.logged()
    assert "\x1b" not in running.logged()


def test_text_is_the_default_and_has_no_line_for_each_request(filled_store, tmp_path):
    with service(tmp_path, environment={"PODPOWER_MODEL_STORE": str(filled_store.root)}) as running:
        with running.client() as client:
            client.post("/predict", json=REQUEST_EXAMPLE)
        assert "/predict" not in running.logged()
        assert "INFO podpower.serving: serving model" in running.logged()


def test_a_log_that_nobody_reads_holds_no_answer_back(filled_store):
    command = [sys.executable, "-m", "podpower", "serve", "--port", "0", "--log-format", "json"]
    environment = os.environ | {"PODPOWER_MODEL_STORE": str(filled_store.root)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        try:
            found = re.search(r"http://[\d.:]+", process.stderr.readline().decode())
            with httpx.Client(base_url=found[0], timeout=30) as client:
                wait_until(lambda: is_ready(client))
                for _ in range(1000):  # 300 bytes each; a pipe holds 64 KiB
                    assert client.get("/" + "x" * 100).status_code == 404
                os.set_blocking(process.stderr.fileno(), False)
                read = b""

                def is_reported():
                    nonlocal read
                    client.get("/healthz")
                    read += process.stderr.read() or b""
                    return b"lines of the log were dropped" in read

                wait_until(is_reported)
        finally:
            process.kill()
    lines = [json.loads(line) for line in read.splitlines()]
    dropped = next(line["message"] for line in lines if "dropped" in line["message"])
    assert 0 < int(dropped.split()[0]) < 1000
