import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podpower.model.predictor import Predictor
from podpower_serving import bodies
from podpower_serving.openapi import MANIFEST_EXAMPLE, REQUEST_EXAMPLE
from podpower_serving.settings import Settings

YAML = {"Content-Type": "application/yaml"}
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
CONTRACT = {
    "pred_energy_step_j", "workload_kind", "workload_name", "namespace", "spec_hash", "pred_avg_power_w",
    "pred_total_energy_j", "step_seconds", "replicas", "total_avg_power_w", "interval", "basis", "model_version",
}  # fmt: skip


def ok(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert "\n" not in body["detail"]
    return body["detail"]


def test_a_prediction_has_the_fields_of_the_contract(client):
    prediction = ok(client.post("/predict", json=REQUEST_EXAMPLE))
    assert set(prediction) >= CONTRACT
    assert prediction["replicas"] == 2
    assert prediction["model_version"] == ok(client.get("/model"))["version"]


def test_the_answer_is_that_of_the_library(client, pair, known_requests, filled_store):
    predictor = Predictor(*pair, version=filled_store.served())
    body = msgspec.json.encode(known_requests[2])
    answer = ok(client.post("/predict", content=body, headers={"Content-Type": "application/json"}))
    assert answer == json.loads(msgspec.json.encode(predictor.predict(known_requests[2:3])[0]))


def test_the_reference_systems_pod_spec_is_read(client):
    body = {
        "namespace": "default",
        "workload_kind": "Deployment",
        "workload_name": "nginx",
        "pod_spec": {
            "containers": [{"name": "nginx", "image": "nginx:1.27", "resources": {"requests": {"cpu": "100m"}}}]
        },
    }
    assert ok(client.post("/predict", json=body))["workload_name"] == "nginx"


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "text/plain; charset=utf-8", "application/yaml", "application/x-yaml", 'text/plain;charset="UTF-8"'],
)
@pytest.mark.parametrize("path", ["/predict/from-yaml", "/infer/from-yaml", "/predict/batch"])
def test_manifests_are_read_by_every_yaml_type(client, path, media_type):
    answer = ok(client.post(path, content=MANIFEST_EXAMPLE, headers={"Content-Type": media_type}))
    rows = answer["predictions"] if path.endswith("batch") else answer if isinstance(answer, list) else [answer]
    assert [row["workload_name"] for row in rows] == ["web"]


def test_yaml_and_json_of_one_workload_agree(client):
    by_yaml = ok(client.post("/predict/from-yaml", content=MANIFEST_EXAMPLE, headers=YAML))
    (request,) = ok(client.post("/infer/from-yaml", content=MANIFEST_EXAMPLE, headers=YAML))
    assert ok(client.post("/predict", json=request)) == by_yaml


def test_objects_without_pods_beside_the_workload_do_no_harm(client):
    body = f"{SERVICE}---\n{MANIFEST_EXAMPLE}"
    assert ok(client.post("/predict/from-yaml", content=body, headers=YAML))["workload_name"] == "web"


def test_several_workloads_are_sent_to_the_batch(client):
    body = f"{MANIFEST_EXAMPLE}---\n{MANIFEST_EXAMPLE.replace('name: web', 'name: api')}"
    assert "/predict/batch" in problem(client.post("/predict/from-yaml", content=body, headers=YAML), 422)


def test_a_bad_row_fails_no_other(client):
    other = {**REQUEST_EXAMPLE, "workload_name": "other"}
    rows = [REQUEST_EXAMPLE, {"workload_kind": "Job"}, 7, None, {**REQUEST_EXAMPLE, "gpu_count": -1}, other]
    batch = ok(client.post("/predict/batch", json=rows))
    assert len(batch["predictions"]) == 2
    assert [error["index"] for error in batch["errors"]] == [1, 2, 3, 4]
    assert "gpu_count" in batch["errors"][3]["detail"]
    assert batch["total"]["workloads"] == 2
    assert batch["total"]["total_avg_power_w"] == pytest.approx(
        sum(p["total_avg_power_w"] for p in batch["predictions"])
    )


def test_a_workload_that_is_given_twice_counts_once(client):
    rows = [{**REQUEST_EXAMPLE, "replicas": replicas} for replicas in (7, 2)]
    batch = ok(client.post("/predict/batch", json=[*rows, {**rows[0], "namespace": "elsewhere"}]))
    assert [p["replicas"] for p in batch["predictions"]] == [7, 2, 7]
    assert {name: batch["total"][name] for name in ("workloads", "replicas", "duplicates")} == {
        "workloads": 2, "replicas": 9, "duplicates": 1,
    }  # fmt: skip


def test_a_bad_document_fails_no_other(client):
    body = f"{SERVICE}---\n{MANIFEST_EXAMPLE}---\na: [\n"
    batch = ok(client.post("/predict/batch", content=body, headers=YAML))
    assert [p["workload_name"] for p in batch["predictions"]] == ["web"]
    assert [error["index"] for error in batch["errors"]] == [2]
    assert [(s["kind"], s["name"], s["reason"]) for s in batch["skipped"]] == [("Service", "web", "runs no pods")]
    assert batch["total"]["errors"] == 1


def test_what_kubectl_get_all_prints_counts_each_workload_once(client):
    web = yaml.safe_load(MANIFEST_EXAMPLE)
    reference = {"kind": "Deployment", "name": "web", "controller": True}
    owned = {**web, "kind": "ReplicaSet", "metadata": {"name": "web-5d4c", "ownerReferences": [reference]}}
    cluster = {"apiVersion": "x.io/v1", "kind": "Cluster", "metadata": {"name": "db"}, "spec": {"instances": 3}}
    batch = ok(client.post("/predict/batch", json={"kind": "List", "items": [owned, web, cluster]}))
    assert batch["total"] == {
        **ok(client.post("/predict/batch", content=MANIFEST_EXAMPLE, headers=YAML))["total"],
        "unknown_kinds": 1,
    }
    assert {(s["name"], s["code"]) for s in batch["skipped"]} == {("web-5d4c", "part_of"), ("db", "unknown_kind")}


@pytest.mark.parametrize("path", ["/predict/from-yaml", "/infer/from-yaml", "/predict/batch"])
def test_query_parameters_select_how_manifests_are_read(client, path):
    daemon = MANIFEST_EXAMPLE.replace("Deployment", "DaemonSet").replace("  replicas: 2\n", "")
    query = {"nodes": 12, "cluster": "east", "lenient": "true"}
    answer = ok(client.post(path, content=daemon.replace("requests:", "request:"), headers=YAML, params=query))
    rows = answer["predictions"] if path.endswith("batch") else answer if isinstance(answer, list) else [answer]
    assert [(row["replicas"], row["replicas_source"], row["cluster"]) for row in rows] == [
        (12, "the given number of nodes", "east")
    ]
    wrong = client.post(path, content=daemon, headers=YAML, params={"nodes": "many"})
    assert "nodes" in problem(wrong, 422)
    assert "lenient" in problem(client.post(path, content=daemon, headers=YAML, params={"lenient": "maybe"}), 422)


def test_a_misspelt_field_is_an_error_with_the_right_word(client):
    body = MANIFEST_EXAMPLE.replace("containers:", "contianers:")
    assert "did you mean containers?" in problem(client.post("/predict/from-yaml", content=body, headers=YAML), 422)
    (error,) = ok(client.post("/predict/batch", content=body, headers=YAML))["errors"]
    assert "did you mean containers?" in error["detail"]


def test_an_explanation_names_its_neighbours(client, known_requests):
    body = msgspec.json.encode(known_requests[0])
    answer = ok(client.post("/explain", content=body, headers={"Content-Type": "application/json"}))
    assert answer["basis"] == "seen"
    assert {"workload_name", "distance", "weight", "avg_power_w"} <= set(answer["neighbours"][0])


def test_the_model_is_described(client):
    model = ok(client.get("/model"))
    assert {"version", "target", "step_seconds", "trained_at", "metrics", "training_size"} <= set(model)
    assert model["refused"] is None


def test_it_lives_and_is_ready(client):
    assert ok(client.get("/healthz"))["status"] == "alive"
    assert ok(client.get("/readyz"))["status"] == "ready"


def test_swagger_ui_needs_no_other_host(client):
    page = client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)=["\']([^"\']+)', page.text)
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/")
        assert client.get(source).status_code == 200
    assert 'href="/docs"' in client.get("/").text


def test_the_api_is_described_with_examples_that_work(client):
    api = ok(client.get("/openapi.json"))
    operations = {o["operationId"]: o for path in api["paths"].values() for o in path.values()}
    assert set(operations) == {
        "predict", "explain", "predictFromYaml", "predictBatch", "inferFromYaml", "getModel", "getHealth",
        "getReadiness", "getReport", "getMetrics", "getFleetMetrics", "reviewAdmission",
        "getStoreFile", "getStorePromotions", "getStorePromotion", "getStoreVersions", "getStoreVersionFile", "diff",
        "getEvaluation",
    }  # fmt: skip
    for path, verbs in api["paths"].items():
        for media_type, body in verbs.get("post", {}).get("requestBody", {}).get("content", {}).items():
            example = body["example"]
            content = example if isinstance(example, str) else json.dumps(example)
            ok(client.post(path, content=content, headers={"Content-Type": media_type}))
    assert {"400", "413", "415", "422", "503"} <= set(operations["predict"]["responses"])


JSON_HEADERS = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "words"),
    [
        ("/predict", b"", JSON_HEADERS, 400, "empty"),
        ("/predict", b"{", JSON_HEADERS, 400, "JSON"),
        ("/predict", b'{"gpu_count": NaN}', JSON_HEADERS, 400, "JSON"),
        ("/predict", b"[" * 100_000, JSON_HEADERS, 400, "nested"),
        ("/predict", b'{"a": "\xff"}', JSON_HEADERS, 400, "UTF-8"),
        ("/predict", b"[]", JSON_HEADERS, 422, "object"),
        ("/predict", b"{}", JSON_HEADERS, 422, "workload_kind"),
        ("/predict", json.dumps({**REQUEST_EXAMPLE, "containers": []}), JSON_HEADERS, 422, "containers"),
        ("/predict", json.dumps({**REQUEST_EXAMPLE, "replicas": 10**30}), JSON_HEADERS, 422, "replicas"),
        ("/predict", json.dumps(REQUEST_EXAMPLE), YAML, 415, "application/json"),
        ("/predict", json.dumps(REQUEST_EXAMPLE), {**JSON_HEADERS, "Content-Encoding": "gzip"}, 415, "as it is"),
        ("/predict", b" " * 300_000, JSON_HEADERS, 413, "200000"),
        ("/predict/batch", b"{}", JSON_HEADERS, 422, "list"),
        ("/predict/batch", json.dumps([1] * 51), JSON_HEADERS, 422, "at most 50"),
        ("/predict/batch", b"a: [", YAML, 400, "YAML"),
        ("/predict/batch", b"false", YAML, 422, "not a Kubernetes object"),
        ("/predict/batch", b"a: 1\n---\n3", YAML, 422, "kind: missing"),
        ("/predict/from-yaml", b"a: [", YAML, 400, "YAML"),
        ("/predict/from-yaml", b"# nothing\n", YAML, 422, "no workload"),
        ("/predict/from-yaml", SERVICE, YAML, 422, "Service"),
        ("/predict/from-yaml", MANIFEST_EXAMPLE.replace("250m", "1.5.2Gi"), YAML, 422, "cpu"),
        ("/predict/from-yaml", MANIFEST_EXAMPLE, {"Content-Type": "text/plain; charset=utf-16"}, 415, "UTF-8"),
        ("/predict/from-yaml", MANIFEST_EXAMPLE, {"Content-Type": "image/png"}, 415, "yaml"),
        ("/infer/from-yaml", b"\xff\xfe", YAML, 400, "UTF-8"),
        ("/predict/batch", MANIFEST_EXAMPLE.replace("\n", ""), YAML, 400, "--data-binary"),
        ("/predict/from-yaml", MANIFEST_EXAMPLE.replace("\n", ""), YAML, 400, "--data-binary"),
        ("/predict/from-yaml", "# A shop" + MANIFEST_EXAMPLE.replace("\n", ""), YAML, 422, "--data-binary"),
    ],
)
def test_problems_name_what_is_wrong(client, path, content, headers, status, words):
    assert words in problem(client.post(path, content=content, headers=headers), status)


def test_an_alias_bomb_is_refused(client):
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 12))
    detail = problem(client.post("/predict/from-yaml", content=f"l0: &l0 x\n{levels}", headers=YAML), 422)
    assert "aliases" in detail


@pytest.mark.parametrize("fragment", ["a", "+", "a.b-c_", "-u a:b ", "a:"])
def test_a_hostile_argument_freezes_nobody(running, filled_store, fragment):
    settings = Settings(model_store=str(filled_store.root), max_body_bytes=4_000_000)
    text = fragment * (700_000 // len(fragment))
    container = {"name": "a", "image": text, "args": [text]}
    with running(settings) as hostile:
        began = time.process_time()
        ok(hostile.post("/predict", json={"workload_kind": "Pod", "workload_name": "w", "containers": [container]}))
        assert time.process_time() - began < 2  # 20 KB took 28 s


def test_unknown_paths_and_verbs_are_problems(client):
    assert "/docs" in problem(client.get("/nothing"), 404)
    assert "POST" in problem(client.get("/predict"), 405)


def test_without_a_model_it_is_not_ready_and_takes_the_first_one(running, tmp_path):
    with running(Settings(model_store=str(tmp_path / "none"))) as client:
        assert client.get("/healthz").status_code == 200
        problem(client.get("/readyz"), 503)
        answer = client.post("/predict", json=REQUEST_EXAMPLE)
        assert "promote" in problem(answer, 503)
        assert answer.headers["retry-after"]


NUMBERS = st.one_of(st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["workload_kind", "workload_name", "containers", "replicas", "gpu_count", "parallelism", "volume_types", "pod_spec",
     "namespace", "labels", "pod_req_cpu_mcpu"]
)  # fmt: skip
PATHS = st.sampled_from(["/predict", "/explain", "/predict/batch", "/predict/from-yaml", "/infer/from-yaml"])
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(PATHS, st.dictionaries(FIELDS, VALUES, max_size=4), st.booleans())
def test_no_json_makes_it_fail(client: httpx.Client, path, change, as_list):
    row = {**REQUEST_EXAMPLE, **change}
    answer = client.post(path, json=[row] if as_list else row)
    assert answer.status_code in {200, 400, 415, 422}, answer.text


@FUZZ
@given(PATHS, st.binary(max_size=60), st.integers(0, 400), st.sampled_from([*YAML.values(), "application/json"]))
def test_no_bytes_make_it_fail(client: httpx.Client, path, noise, position, media_type):
    base = MANIFEST_EXAMPLE.encode() if "yaml" in media_type else json.dumps(REQUEST_EXAMPLE).encode()
    content = base[:position] + noise + base[position:]
    answer = client.post(path, content=content, headers={"Content-Type": media_type})
    assert answer.status_code in {200, 400, 415, 422}, answer.text


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_health_is_answered_while_a_request_is_parsed(client, monkeypatch, path):
    parse, parsing, answered, waited = bodies.one_request, Event(), Event(), []

    def slow_parse(body):
        parsing.set()
        waited.append(answered.wait(10))
        return parse(body)

    monkeypatch.setattr(bodies, "one_request", slow_parse)
    with ThreadPoolExecutor(1) as thread:
        prediction = thread.submit(client.post, path, json={"schema_version": "v1"})
        assert parsing.wait(10)
        assert client.get("/healthz").status_code == 200
        answered.set()
        assert prediction.result().status_code in {200, 422}
    assert waited == [True]
