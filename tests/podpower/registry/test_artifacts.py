import contextlib
import hashlib
import io
import os
import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor

from podpower.errors import InvalidInput, Refused
from podpower.features.encoder import Encoder
from podpower.registry import artifacts
from podpower.specs.requests import Container, InferenceRequest
from podpower.training.train import train

PAYLOAD = {
    "text": "x" * 300,
    "numbers": [1, -7, 2**40, 2.5, True, None],
    "arrays": {
        "c": np.arange(12, dtype=np.float32).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 4)),
        "flags": np.array([True, False]),
    },
    "nested": [["a"], [], {"b": ["c"]}],
}
SEALED = artifacts.seal("encoder", PAYLOAD)


def with_trailer(payload, kind="encoder"):
    digest = hashlib.sha256(payload).hexdigest()
    return payload + f"\npodpower-artifact {kind} 1 {digest}\n".encode()


def joblib_bytes(value, **options):
    stream = io.BytesIO()
    joblib.dump(value, stream, **options)
    return stream.getvalue()


class Runs:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def assert_same(left, right):
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert set(left) == set(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert np.array_equal(left, right)
    else:
        assert left == right


def test_what_is_sealed_comes_back():
    assert_same(artifacts.unseal(SEALED, kind="encoder"), PAYLOAD)


def test_joblib_reads_it_too():
    assert_same(joblib.load(io.BytesIO(SEALED)), PAYLOAD)


def test_equal_content_gives_equal_bytes():
    again = {name: PAYLOAD[name] for name in reversed(PAYLOAD)}
    again["text"] = "".join(["x"] * 300)
    again["nested"] = [["".join(["a"])], [], {"b": ["c"]}]
    assert artifacts.seal("encoder", again) == SEALED


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position, change):
    damaged = bytearray(SEALED)
    damaged[position] ^= change
    with pytest.raises(Refused):
        artifacts.unseal(bytes(damaged), kind="encoder")


@given(st.integers(0, len(SEALED) - 1))
def test_any_cut_is_refused(length):
    with pytest.raises(Refused):
        artifacts.unseal(SEALED[:length], kind="encoder")


@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_changes_with_a_right_digest_give_plain_data_or_are_refused(position, replacement):
    payload = bytearray(SEALED[: SEALED.rindex(b"\npodpower-artifact")])
    payload[position : position + len(replacement)] = replacement
    with contextlib.suppress(Refused):  # any other exception fails
        artifacts.seal("encoder", artifacts.unseal(with_trailer(bytes(payload)), kind="encoder"))


@pytest.mark.parametrize("sealed", [True, False], ids=["right digest", "no digest"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: pickle.dumps(Runs(path)),
        lambda path: pickle.dumps(Runs(path), protocol=0),
        lambda path: pickle.dumps(Runs(path), protocol=2),
        lambda path: joblib_bytes({"state": Runs(path)}),
        lambda path: joblib_bytes({"state": np.array([Runs(path)], dtype=object)}),
        lambda path: joblib_bytes({"state": [{"deep": [Runs(path)]}]}),
        lambda path: joblib_bytes({"state": Runs(path)}, compress=3),
        lambda path: f"cos\nsystem\n(S'touch {path}'\ntR.".encode(),
        lambda path: f"(S'touch {path}'\nios\nsystem\n.".encode(),
        lambda path: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x09" + b"touch x/y" + b"\x85R.",
    ],
    ids=[
        "reduce",
        "protocol 0",
        "protocol 2",
        "in a dict",
        "object array",
        "deep",
        "compressed",
        "global",
        "inst",
        "stack",
    ],
)
def test_a_crafted_pickle_does_not_run(make, sealed, tmp_path):
    mark = tmp_path / "ran"
    payload = make(mark)
    with pytest.raises(Refused):
        artifacts.unseal(with_trailer(payload) if sealed else payload, kind="encoder")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([object()], dtype=object),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], dtype="M8[D]"),
        {1, 2},
        b"bytes",
        KNeighborsRegressor(),
    ],
    ids=["fields", "objects", "texts", "complex", "dates", "set", "bytes", "estimator"],
)
def test_what_is_not_plain_is_neither_written_nor_read(value):
    with pytest.raises(TypeError):
        artifacts.seal("encoder", {"state": value})
    if isinstance(value, np.ndarray) and value.dtype == object:
        return
    with pytest.raises(Refused):
        artifacts.unseal(with_trailer(joblib_bytes({"state": value})), kind="encoder")


def test_an_array_longer_than_the_file_takes_no_memory():
    payload = SEALED[: SEALED.rindex(b"\npodpower-artifact")]
    # The shape (3, 4) of the first array: K\x03 K\x04 \x86; four-byte lengths do not fit, 255 x 255 does.
    assert payload.count(b"K\x03K\x04\x86") == 1
    with pytest.raises(Refused, match="longer than the file"):
        artifacts.unseal(with_trailer(payload.replace(b"K\x03K\x04\x86", b"K\xffK\xff\x86")), kind="encoder")


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "encoder", "not a whole artifact"),
        (joblib_bytes(KNeighborsRegressor()), "knn_energy", "podpower train"),
        (SEALED, "knn_energy", "swapped"),
        (SEALED.replace(b"artifact encoder 1 ", b"artifact encoder 2 "), "encoder", "format 2"),
        (with_trailer(pickle.dumps([1], protocol=4)), "encoder", "encode fit"),
    ],
    ids=["empty", "of scikit-learn", "swapped", "of a later version", "a list"],
)
def test_refusals_say_what_and_what_to_do(data, kind, words):
    with pytest.raises(Refused, match=words) as refusal:
        artifacts.unseal(data, kind=kind)
    assert "\n" not in str(refusal.value)


def test_an_encoder_comes_back_from_its_file(tmp_path):
    requests = [
        InferenceRequest(workload_kind="Pod", workload_name=name, containers=[Container(image=name)])
        for name in ("redis", "nginx", "postgres")
    ]
    encoder = Encoder.fit(requests)
    artifacts.save_encoder(encoder, tmp_path / "encoder.joblib")
    loaded = artifacts.load_encoder(tmp_path / "encoder.joblib")
    assert loaded.fingerprint == encoder.fingerprint
    assert np.array_equal(loaded.transform(requests), encoder.transform(requests))
    held = joblib.load(tmp_path / "encoder.joblib")
    assert {"schema", "target", "step_seconds", "units", "training_fingerprint", "metrics", "libraries"} <= set(held)


def test_a_model_comes_back_from_its_file(tmp_path, make_rows, queries, known_vectors):
    model = train(make_rows())
    artifacts.save_model(model, tmp_path / "knn_energy.joblib")
    loaded = artifacts.load_model(tmp_path / "knn_energy.joblib")
    asked = queries(known_vectors(model) + 0.01)
    assert np.array_equal(loaded.predict(asked).power_w, model.predict(asked).power_w)
    held = joblib.load(tmp_path / "knn_energy.joblib")
    assert (held["target"], held["step_seconds"]) == ("energy_step_j", 60.0)
    assert held["units"]["energy"] == "J"
    assert {"podpower", "numpy", "joblib"} <= set(held["libraries"])
    assert held["training_fingerprint"] == artifacts.training_fingerprint(loaded)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"encoder\.joblib"):
        artifacts.load_encoder(tmp_path / "encoder.joblib")


def test_a_refused_file_is_named(tmp_path):
    path = tmp_path / "knn_energy.joblib"
    path.write_bytes(b"")
    with pytest.raises(Refused, match=r"knn_energy\.joblib"):
        artifacts.load_model(path)
