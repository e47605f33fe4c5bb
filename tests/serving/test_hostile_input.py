"""A real process behind a socket: no body ends it, stops it, or makes it answer 500."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from benchmarks.bench_hostile_input import DENSE_MANIFESTS, GOOD, MANIFESTS

TEXTS = {**MANIFESTS, **DENSE_MANIFESTS}
YAML_PATHS = ("/predict/batch", "/predict/from-yaml", "/infer/from-yaml")
JSON_PATHS = ("/predict", "/explain", "/predict/batch")


@pytest.fixture(scope="module")
def process(filled_store, tmp_path_factory):
    """A `podpower serve` process, and a client of it."""
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "podpower", "serve", "--port", "0"]
    environment = os.environ | {"PODPOWER_MODEL_STORE": str(filled_store.root)}
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env=environment) as running:
        try:
            with httpx.Client(base_url=_address(running, log), timeout=60) as client:
                yield running, client
        finally:
            running.kill()


def _address(running, log):
    while not (found := re.search(r"listening on (http://[\d.:]+)", log.read_text())):
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    return found[1]


def post(client, path, body, media_type):
    try:
        return client.post(path, content=body, headers={"Content-Type": media_type})
    except httpx.HTTPError as error:
        pytest.fail(f"no answer: {error!r}")


@pytest.mark.parametrize("path", YAML_PATHS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_manifest_is_answered(name, path, process):
    running, client = process
    answer = post(client, path, TEXTS[name](100_000), "application/yaml")
    assert running.poll() is None
    assert answer.status_code in {200, 400, 422}
    if answer.status_code != 200:
        assert len(answer.json()["detail"]) < 600
    assert client.get("/healthz").status_code == 200
    predicted = post(client, "/predict/batch", GOOD, "application/yaml").json()
    assert [row["workload_name"] for row in predicted["predictions"]] == ["good"]


@pytest.mark.parametrize("path", YAML_PATHS)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(b"- " * 26_000, "nested deeper than ", id="52 KB"),
        pytest.param(b"a: " + b"{a: " * 5_000, "nested deeper than ", id="20 KB"),
        pytest.param(b"[" * 300_000, "nested deeper than ", id="300 KB"),
        pytest.param(b"[" * 4_000_000, "too many values: ", id="4 MB"),
    ],
)
def test_nesting_is_named(text, named, path, process):
    running, client = process
    answer = post(client, path, text, "text/plain")
    assert running.poll() is None
    assert named in answer.text


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("depth", [101, *range(900, 1000, 3), 200_000])
def test_nested_json_is_answered(depth, path, process):
    running, client = process
    deep = "[" * depth + "]" * depth
    terms = f'{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"a":{deep}}}]}}}}'
    spec = f'{{"containers":[{{"name":"c","image":"i"}}],"affinity":{{"nodeAffinity":{terms}}}}}'
    request = f'{{"workload_kind":"Pod","workload_name":"a","pod_spec":{spec}}}'
    answer = post(client, path, f"[{request}]" if path.endswith("batch") else request, "application/json")
    assert running.poll() is None
    assert answer.status_code in ({400} if depth > 1000 else {200, 400, 422})
    assert answer.status_code == 200 or "nested" in answer.text


def test_others_are_answered_while_hostile_texts_are_read(process):
    running, client = process
    texts = [text(1_000_000) for text in MANIFESTS.values()][:24]
    before = sum(psutil.Process(running.pid).cpu_times()[:2])
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(post, client, YAML_PATHS[i % 3], t, "text/yaml") for i, t in enumerate(texts)]
        assert client.get("/healthz").status_code == 200
        assert {answer.result().status_code for answer in answers} <= {200, 400, 422}
    spent = sum(psutil.Process(running.pid).cpu_times()[:2]) - before
    assert spent < len(texts)  # a second each, under any load: it is CPU time


@pytest.mark.parametrize("path", YAML_PATHS)
def test_more_objects_than_a_batch_holds_are_refused(path, process):
    _, client = process
    answer = post(client, path, f"{GOOD}\n" * 10_001, "application/yaml")
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "more than 10000 objects: send at most 10000 at a time"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["[Deployment]", "{a: b}", "!!set {a}"])
def test_a_kind_that_is_no_text_fails_its_document_only(kind, process):
    _, client = process
    wrong = f"kind: {kind}\nmetadata: {{name: a}}\nspec: {{template: {{spec: {{containers: []}}}}}}\n"
    for path in ("/predict/from-yaml", "/infer/from-yaml"):
        answer = post(client, path, wrong, "application/yaml")
        assert (answer.status_code, answer.json()["detail"][:5]) == (422, "kind:")
    batch = post(client, "/predict/batch", f"{wrong}---\n{GOOD}", "application/yaml").json()
    assert [row["workload_name"] for row in batch["predictions"]] == ["good"]
    assert [row["detail"][:5] for row in batch["errors"]] == ["kind:"]


def test_a_table_in_a_config_map_hides_no_workload(process):
    _, client = process
    table = {"kind": "ConfigMap", "metadata": {"name": "table"}, "data": {"a.csv": "1,2,3\n" * 25_000}}
    for body in (json.dumps({"kind": "List", "items": [table, json.loads(GOOD)]}), f"{json.dumps(table)}\n---\n{GOOD}"):
        answer = client.post("/predict/batch", content=body, headers={"Content-Type": "application/yaml"})
        assert answer.status_code == 200, answer.text
        assert [prediction["workload_name"] for prediction in answer.json()["predictions"]] == ["good"]
