import contextlib
import hashlib
import io
import os
import pickle

import joblib
import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor

from podpower.errors import Refused
from podpower.registry import sealing

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
DESCRIPTION = {"target": None, "schema": {"version": 3, "columns": ["a", "b"]}}
SEALED = sealing.seal("encoder", PAYLOAD, description=DESCRIPTION)

CONTENT = sealing.encoded(PAYLOAD)


def with_trailer(body, kind="encoder", *, start=0, size=None):
    """`body` as an artifact whose content is at `start`, with a right digest."""
    size = len(body) - start if size is None else size
    whole = body + f"\npodpower-artifact {kind} 2 {start} {size} ".encode()
    return whole + f"{hashlib.sha256(whole).hexdigest()}\n".encode()


def of_format_1(body, kind="encoder"):
    return body + f"\npodpower-artifact {kind} 1 {hashlib.sha256(body).hexdigest()}\n".encode()


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
    assert_same(sealing.unseal(SEALED, kind="encoder"), PAYLOAD)


def test_arrays_are_read_only_aligned_views():
    arrays = sealing.unseal(SEALED, kind="encoder")["arrays"]
    assert set(arrays) == set(PAYLOAD["arrays"])
    for array in arrays.values():
        assert not array.flags.writeable
        assert array.flags.aligned
        assert array.base is not None


def test_joblib_opens_it_and_shows_the_description():
    held = joblib.load(io.BytesIO(SEALED))
    assert_same(sealing.decoded(memoryview(held.pop("content").tobytes())), PAYLOAD)
    assert_same(held, DESCRIPTION)


def test_equal_content_gives_equal_bytes():
    again = {name: PAYLOAD[name] for name in reversed(PAYLOAD)}
    again["text"] = "".join(["x"] * 300)
    again["nested"] = [["".join(["a"])], [], {"b": ["c"]}]
    assert sealing.seal("encoder", again, description=dict(reversed(DESCRIPTION.items()))) == SEALED


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position, change):
    damaged = bytearray(SEALED)
    damaged[position] ^= change
    with pytest.raises(Refused):
        sealing.unseal(bytes(damaged), kind="encoder")


@given(st.integers(0, len(SEALED) - 1))
def test_any_cut_is_refused(length):
    with pytest.raises(Refused):
        sealing.unseal(SEALED[:length], kind="encoder")


@given(st.integers(0, 1000), st.binary(min_size=1, max_size=12))
def test_changes_with_a_right_digest_give_plain_data_or_are_refused(position, replacement):
    content = bytearray(CONTENT)
    content[position : position + len(replacement)] = replacement
    with contextlib.suppress(Refused):  # any other exception fails
        sealing.encoded(sealing.unseal(with_trailer(bytes(content)), kind="encoder"))


@given(st.integers(0, len(CONTENT)), st.integers(1, 10**11))
@example(0, 1)
@example(0, 10**11)
@example(len(CONTENT), 1)
def test_a_place_outside_of_the_file_is_refused(start, beyond):
    sealed = with_trailer(CONTENT, start=start, size=len(CONTENT) - start + beyond)
    with pytest.raises(Refused, match="outside of the file"):
        sealing.unseal(sealed, kind="encoder")


@given(st.integers(1, len(CONTENT)), st.integers(0, len(CONTENT)))
def test_a_wrong_place_in_the_file_gives_plain_data_or_is_refused(start, size):
    with contextlib.suppress(Refused):  # any other exception fails
        sealing.encoded(
            sealing.unseal(with_trailer(CONTENT, start=start, size=min(size, len(CONTENT) - start)), kind="encoder")
        )


@pytest.mark.parametrize(
    "tree",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 30 + b"\xc0",
        b"\xd6\xff\x00\x00\x00\x00",
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(2, b"")}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["O", "C", [1], 0]))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["f4", "C", [-1], 0]))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["f4", "C", [2**60] * 9, 0]))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["f4", "C", [2**60, 4], 0]))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["f4", "C", [1], -8]))}),
        msgspec.msgpack.encode({"a": b"bytes"}),
        msgspec.msgpack.encode({1: 2}),
    ],
    ids=[
        "a long list", "a long map", "a long text", "deep lists", "deep maps", "a time", "unknown", "objects",
        "negative", "nine axes", "longer than the file", "before the arrays", "bytes", "a number as key",
    ],
)  # fmt: skip
def test_content_that_podpower_does_not_write_is_refused_and_takes_no_memory(tree):
    with pytest.raises(Refused, match="more than plain data"):
        sealing.unseal(with_trailer(len(tree).to_bytes(8, "little") + tree), kind="encoder")


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
        sealing.unseal(with_trailer(payload) if sealed else payload, kind="encoder")
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
def test_what_is_not_plain_is_not_written(value):
    with pytest.raises(TypeError):
        sealing.seal("encoder", {"state": value}, description={})


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "encoder", "not a whole artifact"),
        (joblib_bytes(KNeighborsRegressor()), "knn_energy", "podpower train"),
        (SEALED, "knn_energy", "swapped"),
        (SEALED.replace(b"artifact encoder 2 ", b"artifact encoder 3 "), "encoder", "format 3 is not 2: .*encode fit"),
        (of_format_1(joblib_bytes({"state": {}}), "knn_energy"), "knn_energy", "format 1 is not 2: .*podpower train"),
        (with_trailer(b"\x01" + bytes(7) + b"\x90"), "encoder", "holds a list .*encode fit"),
    ],
    ids=["empty", "of scikit-learn", "swapped", "of a later version", "of an earlier version", "a list"],
)
def test_refusals_contain_the_cause_and_the_remedy(data, kind, words):
    with pytest.raises(Refused, match=words) as refusal:
        sealing.unseal(data, kind=kind)
    assert "\n" not in str(refusal.value)
