"""One set of answers: the service by both clients, and in process."""

import asyncio
import re

import msgspec
import pytest
import yaml

import podpower
from podpower.registry.store import ModelStore
from podpower_serving.openapi import MANIFEST_EXAMPLE, REQUEST_EXAMPLE
from tests.serving.client.scripted import scripted

DEPLOYMENT = yaml.safe_load(MANIFEST_EXAMPLE)
MANIFESTS = "\n---\n".join([MANIFEST_EXAMPLE, "kind: Service\nmetadata: {name: s}", "kind: Deployment\nmetadata: {}"])
REQUEST = msgspec.convert(REQUEST_EXAMPLE, podpower.InferenceRequest)


class _Synchronous:
    """An AsyncClient whose methods are awaited."""

    def __init__(self, url):
        self._url = url

    def __getattr__(self, name):
        async def call(*given, **options):
            async with podpower.AsyncClient(self._url) as client:
                return await getattr(client, name)(*given, **options)

        return lambda *given, **options: asyncio.run(call(*given, **options))


@pytest.fixture(params=["Client", "AsyncClient", "Predictor"])
def asked(request, client, filled_store):
    """Each of the three."""
    url = str(client.base_url)
    if request.param == "Client":
        with podpower.Client(url) as found:
            yield found
    elif request.param == "AsyncClient":
        yield _Synchronous(url)
    else:
        yield podpower.Predictor(str(filled_store.root))


def as_json(answer):
    return msgspec.json.decode(msgspec.json.encode(answer))


@pytest.mark.parametrize("workload", [REQUEST, REQUEST_EXAMPLE], ids=["InferenceRequest", "JSON"])
def test_a_request_is_predicted_and_explained_as_over_http(asked, client, workload):
    assert as_json(asked.predict(workload)) == client.post("/predict", json=REQUEST_EXAMPLE).json()
    assert as_json(asked.explain(workload)) == client.post("/explain", json=REQUEST_EXAMPLE).json()


def test_a_manifest_is_predicted_as_over_http(asked, client, tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text(MANIFEST_EXAMPLE)
    expected = client.post(
        "/predict/from-yaml", content=MANIFEST_EXAMPLE, headers={"Content-Type": "application/yaml"}
    ).json()
    for given in (MANIFEST_EXAMPLE, MANIFEST_EXAMPLE.encode(), path):
        assert as_json(asked.from_yaml(given)) == expected
    assert as_json(asked.predict(DEPLOYMENT)) == expected
    [inferred] = asked.infer(path)
    assert isinstance(inferred, podpower.InferenceRequest)
    assert as_json(asked.predict(inferred)) == expected


@pytest.mark.parametrize("given", [MANIFESTS, [REQUEST_EXAMPLE, {"bad": 1}, REQUEST], [DEPLOYMENT, DEPLOYMENT], []])
def test_a_batch_has_everything_that_http_answers(asked, client, given):
    if isinstance(given, str):
        expected = client.post("/predict/batch", content=given, headers={"Content-Type": "application/yaml"})
    elif given and "kind" in given[0]:
        expected = client.post("/predict/batch", json={"kind": "List", "items": given})
    else:
        expected = client.post("/predict/batch", json=as_json(given))
    batch = asked.predict_batch(given)
    assert isinstance(batch, podpower.Batch)
    assert as_json(batch) == expected.json()


def test_options_of_manifests_are_used(asked):
    daemons = MANIFEST_EXAMPLE.replace("Deployment", "DaemonSet").replace("  replicas: 2\n", "")
    assert asked.from_yaml(daemons, nodes=7).replicas == 7
    misspelt = MANIFEST_EXAMPLE.replace("replicas", "replcas")
    assert asked.predict_batch(misspelt).errors
    assert asked.predict_batch(misspelt, lenient=True, cluster="eu").predictions[0].cluster == "eu"


def test_cost_and_carbon_are_those_over_http(asked, client):
    query = {"price": 0.3, "currency": "EUR", "pue": 1.2, "carbon": 250}
    expected = client.post("/predict/batch", json=[REQUEST_EXAMPLE], params=query).json()
    batch = asked.predict_batch([REQUEST], **query)
    assert as_json(batch) == expected
    assert batch.total.cost_month > 0
    with pytest.raises(podpower.InvalidInput, match="scope"):
        asked.predict_batch([REQUEST], scope="everything")


def test_the_model_is_described_as_over_http(asked, client):
    assert as_json(asked.model()) == client.get("/model").json()


@pytest.mark.parametrize(
    "workload", [{}, {**REQUEST_EXAMPLE, "replicas": -1}, {"kind": "Deployment"}, {**REQUEST_EXAMPLE, "containers": []}]
)
def test_a_wrong_workload_is_an_error_that_names_the_field(asked, workload):
    with pytest.raises(podpower.InvalidInput) as caught:
        asked.predict(workload)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workload", [object(), {"a": {1, 2}.__iter__()}, {"replicas": 10**400}])
def test_what_json_does_not_have_is_wrong_before_it_is_sent(asked, workload):
    with pytest.raises(podpower.InvalidInput):
        asked.predict(workload)


def test_several_workloads_are_no_single_prediction(asked):
    with pytest.raises(podpower.InvalidInput, match="2 workloads"):
        asked.from_yaml(f"{MANIFEST_EXAMPLE}\n---\n{MANIFEST_EXAMPLE.replace('web', 'api')}")
    with pytest.raises(podpower.InvalidInput, match="send them in two"):
        asked.predict_batch([DEPLOYMENT, REQUEST_EXAMPLE])
    with pytest.raises(podpower.InvalidInput, match="cannot read"):
        asked.from_yaml(__import__("pathlib").Path("/nowhere/at.yaml"))


def test_a_predictor_follows_its_store(tmp_path, make_pair):
    store = ModelStore(tmp_path / "models")
    store.promote(first := store.add(*make_pair(1.0)))
    predictor = podpower.Predictor(str(store.root), reload_seconds=0.0)
    before = predictor.predict(REQUEST)
    store.promote(second := store.add(*make_pair(2.0)))
    after = predictor.predict(REQUEST)
    assert (before.model_version, after.model_version) == (first, second)
    assert after.pred_avg_power_w == pytest.approx(2 * before.pred_avg_power_w, rel=0.05)


def test_a_predictor_keeps_its_model_while_the_newer_one_is_damaged(tmp_path, make_pair):
    store = ModelStore(tmp_path / "models")
    store.promote(first := store.add(*make_pair(1.0)))
    predictor = podpower.Predictor(str(store.root), reload_seconds=0.0)
    store.promote(second := store.add(*make_pair(2.0)))
    for file in (tmp_path / "models").rglob("*.joblib"):
        if second in str(file):
            file.write_bytes(b"damaged")
    assert predictor.predict(REQUEST).model_version == first
    assert predictor.model().refused.version == second


def test_a_predictor_reads_artifacts(tmp_path, filled_store, client):
    folder = next(path.parent for path in filled_store_files(filled_store) if path.name.startswith("encoder"))
    encoder, model = (next(folder.glob(f"{name}*.joblib")) for name in ("encoder", "knn_energy"))
    predictor = podpower.Predictor(encoder_path=str(encoder), model_path=str(model))
    assert (
        predictor.predict(REQUEST).pred_avg_power_w
        == client.post("/predict", json=REQUEST_EXAMPLE).json()["pred_avg_power_w"]
    )
    with pytest.raises(podpower.InvalidInput, match="neither"):
        podpower.Predictor(encoder_path=str(encoder))


def filled_store_files(store):
    from pathlib import Path  # noqa: PLC0415

    return sorted(Path(str(store.root)).rglob("*.joblib"))


def test_without_a_model_there_is_no_predictor(tmp_path):
    with pytest.raises(podpower.Unavailable, match="train one and promote it"):
        podpower.Predictor(str(tmp_path))


def test_a_store_without_a_model_is_named(tmp_path):
    with pytest.raises(podpower.Unavailable, match=re.escape(f"{tmp_path / 'nosuch'}: no model to serve yet")):
        podpower.Predictor(str(tmp_path / "nosuch"))


def test_a_difference_is_that_of_http(asked, client):
    new = MANIFEST_EXAMPLE.replace("replicas: 2", "replicas: 5")
    expected = client.post(
        "/diff", json={"old": MANIFEST_EXAMPLE, "new": new}, params={"price": 0.3, "currency": "EUR"}
    )
    found = asked.diff(MANIFEST_EXAMPLE, new, price=0.3, currency="EUR")
    assert as_json(found) == expected.json()
    assert found.changes[0].delta_w > 0
    assert as_json(asked.diff([REQUEST], [])) == client.post("/diff", json={"old": [REQUEST_EXAMPLE], "new": []}).json()
    assert asked.diff([DEPLOYMENT], [DEPLOYMENT]).unchanged == 1


def rows(count):
    return [msgspec.structs.replace(REQUEST, workload_name=f"w\u2028{number}") for number in range(count)]


async def lines_of(url, workloads):
    async with podpower.AsyncClient(url) as client:
        return [line async for line in client.predict_lines(workloads)]


def streams(url, workloads):
    with podpower.Client(url) as client:
        yield list(client.predict_lines(workloads))
    yield asyncio.run(lines_of(url, workloads))


def test_a_long_batch_is_streamed_line_by_line(client):
    url = str(client.base_url)
    with podpower.Client(url) as one:
        expected = one.predict_batch(rows(40))
    for lines in streams(url, [*rows(40), {"containers": 1}]):
        assert [line.prediction for line in lines[:40]] == expected.predictions
        assert lines[40].error.index == 40
        assert lines[-1].total.total_avg_power_w == expected.total.total_avg_power_w


def test_a_streamed_answer_that_breaks_off_or_is_refused_is_an_error(client):
    head = {"Content-Type": "application/x-ndjson"}
    whole = client.post(
        "/predict/batch", content=msgspec.json.encode(REQUEST), headers=head | {"Accept": head["Content-Type"]}
    )
    first = whole.content.split(b"\n")[0] + b"\n"
    with scripted((200, head, first)) as (url, _), pytest.raises(podpower.Unavailable, match="before its total"):
        next(streams(url, rows(2)))
    broken = (200, head | {"Content-Length": "100000"}, first)
    with scripted(broken) as (url, _), podpower.Client(url, timeout_seconds=0.5) as cut:
        lines = cut.predict_lines(rows(2))
        assert next(lines).prediction is not None
        with pytest.raises(podpower.Unavailable, match="in the middle"):
            next(lines)
    with scripted((503, {"Retry-After": "0"}, b""), (200, head, whole.content)) as (url, received):
        assert next(streams(url, rows(1)))[-1].total.workloads == 1
        assert len(received) == 2
    with pytest.raises(podpower.RequestRefused, match="larger than"):
        next(streams(str(client.base_url), rows(2_000)))
    with pytest.raises(podpower.InvalidInput, match="infer"):
        next(streams(str(client.base_url), [DEPLOYMENT]))


@pytest.mark.parametrize("name", ["deployment.yaml", "k8s/web.YML", "list.json"])
@pytest.mark.parametrize("method", ["predict_batch", "from_yaml", "infer"])
def test_the_name_of_a_file_as_text_is_an_error_with_what_to_give(asked, method, name):
    with pytest.raises(podpower.InvalidInput, match=r"is read as a manifest: give a file as pathlib\.Path"):
        getattr(asked, method)(name)
