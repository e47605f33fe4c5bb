"""`encoder.joblib` and `knn_energy.joblib`: plain data in joblib's container, with a digest at the end.

A pickle is a program, so reading does not run one: the digest in the trailer is checked first, then the payload is
read by an unpickler that has only those instructions that `seal` writes. It has no way to name a function or a class
other than a stand-in for numpy's arrays, none to call anything else, and none to use memory out of proportion to the
file. `joblib.load` opens the files too, for a look in a notebook at one's own; it trusts what it reads.
"""

import hashlib
import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar, get_args

import numpy as np
from joblib.numpy_pickle import NumpyPickler
from numpy.typing import NDArray
from upath import UPath

from podpower.errors import InvalidInput, Refused
from podpower.features.encoder import Encoder
from podpower.io.files import read_bounded, write_atomically
from podpower.model.knn import KnnModel

T = TypeVar("T")
Kind = Literal["encoder", "knn_energy"]

FORMAT_VERSION: Final = 1
LIMIT_BYTES: Final = 4 << 30
UNITS: Final = {"power": "W", "energy": "J", "cpu": "mcpu", "memory": "MiB", "step": "s"}
LIBRARIES: Final = ("podpower", "numpy", "joblib")

_TRAILER = re.compile(rb"\npodpower-artifact ([a-z_]{1,20}) ([0-9]{1,6}) ([0-9a-f]{64})\n\Z")
_TRAILER_MAX_BYTES = 128
_REMAKE: Final = {
    "encoder": "make it again with `podpower encode fit`",
    "knn_energy": "make it again with `podpower train`",
}
_ARRAY_TYPES: Final = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_PICKLE_PROTOCOL = 4
_MAX_DEPTH = 20


def seal(kind: Kind, payload: Mapping[str, Any]) -> bytes:
    """The artifact that holds `payload`: dicts, lists, str, numbers, bool, None and numeric numpy arrays.

    Equal payloads give equal bytes. TypeError when anything else is in it.
    """
    stream = io.BytesIO()
    pickler = NumpyPickler(stream, protocol=_PICKLE_PROTOCOL)
    pickler.fast = True  # no memo: bytes do not depend on which equal objects are the same object
    pickler.dump(_plain(payload))
    data = stream.getvalue()
    return data + _trailer(kind, data)


def unseal(data: bytes, *, kind: Kind) -> dict[str, Any]:
    """The payload of an artifact; its arrays are read-only views of `data`.

    Refused when `data` is larger than LIMIT_BYTES, of another kind or version, damaged, or holds anything but what
    `seal` writes; nothing in it is run.
    """
    if len(data) > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES >> 20} MiB, which no artifact of podpower is: {_REMAKE[kind]}")
    found = _TRAILER.search(data, max(0, len(data) - _TRAILER_MAX_BYTES))
    if found is None:
        raise Refused(f"not a whole artifact of podpower (empty, cut off or of another program): {_REMAKE[kind]}")
    stored_kind, stored_version = found[1].decode(), found[2].decode()
    if stored_kind != kind:
        raise Refused(f'holds "{stored_kind}" where "{kind}" is expected: were the two files swapped?')
    if stored_version != str(FORMAT_VERSION):
        raise Refused(f"artifact format {stored_version} is not {FORMAT_VERSION}: {_REMAKE[kind]}")
    if hashlib.sha256(memoryview(data)[: found.start()]).hexdigest() != found[3].decode():
        raise Refused(f"damaged, its digest does not match: copy it again or {_REMAKE[kind]}")
    try:
        payload = _plain(_PlainUnpickler(data[: found.start()]).load())
    except Exception as error:  # malformed pickles raise whatever their bytes lead to
        raise Refused(f"holds more than plain data ({_one_line(error)}): do not trust it, {_REMAKE[kind]}") from None
    if not isinstance(payload, dict):
        raise Refused(f"holds a {type(payload).__name__} where a dict is expected: {_REMAKE[kind]}")
    return payload


def encoder_bytes(encoder: Encoder) -> bytes:
    """`encoder` as an artifact."""
    state = encoder.state()
    return seal(
        "encoder",
        {
            **_envelope(),
            "schema": {"version": state["schema_version"], "columns": list(encoder.column_names), "dim": encoder.dim},
            "target": None,  # an encoder serves every target and step
            "step_seconds": None,
            "training_fingerprint": encoder.fingerprint,
            "metrics": {"fitted_on": state["fitted_on"]},
            "state": state,
        },
    )


def encoder_from_bytes(data: bytes) -> Encoder:
    """The encoder of an artifact. Refused as `unseal`, and when its state does not fit this version."""
    return _from_state(Encoder.from_state, unseal(data, kind="encoder"), kind="encoder")


def model_bytes(model: KnnModel) -> bytes:
    """`model` as an artifact."""
    state = model.state()
    return seal(
        "knn_energy",
        {
            **_envelope(),
            "schema": {"version": state["schema_version"], "dim": model.dim},
            "target": model.target,
            "step_seconds": model.step_seconds,
            "training_fingerprint": training_fingerprint(model),
            "encoder_fingerprint": model.encoder_fingerprint,
            "metrics": model.metrics,
            "state": state,
        },
    )


def model_from_bytes(data: bytes) -> KnnModel:
    """The model of an artifact. Refused as `unseal`, and when its state does not fit this version."""
    return _from_state(KnnModel.from_state, unseal(data, kind="knn_energy"), kind="knn_energy")


def training_fingerprint(model: KnnModel) -> str:
    """64 hex digits that tell which specs with which labels `model` was trained on."""
    index = model.state()["index"]
    return hashlib.sha256(seal("knn_energy", {"target": model.target, "index": index})).hexdigest()


def save_encoder(encoder: Encoder, path: UPath | Path | str) -> None:
    """Write `encoder` to `path`, whole or not at all."""
    write_atomically(path, encoder_bytes(encoder))


def load_encoder(path: UPath | Path | str) -> Encoder:
    """The encoder at `path`. InvalidInput when there is no such file, Refused as `encoder_from_bytes`."""
    return _load(encoder_from_bytes, path)


def save_model(model: KnnModel, path: UPath | Path | str) -> None:
    """Write `model` to `path`, whole or not at all."""
    write_atomically(path, model_bytes(model))


def load_model(path: UPath | Path | str) -> KnnModel:
    """The model at `path`. InvalidInput when there is no such file, Refused as `model_from_bytes`."""
    return _load(model_from_bytes, path)


def _load(read: Callable[[bytes], T], path: UPath | Path | str) -> T:
    try:
        return read(read_bounded(path, limit_bytes=LIMIT_BYTES))
    except Refused as error:
        raise Refused(f"{path}: {error}") from None


def _envelope() -> dict[str, Any]:
    return {"units": dict(UNITS), "libraries": {name: library_version(name) for name in LIBRARIES}}


def _trailer(kind: str, data: bytes) -> bytes:
    if kind not in get_args(Kind):
        raise InvalidInput(f"unknown kind of artifact {kind!r}: use one of {', '.join(get_args(Kind))}")
    return f"\npodpower-artifact {kind} {FORMAT_VERSION} {hashlib.sha256(data).hexdigest()}\n".encode()


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` in the form that is written: keys in order, tuples as lists, numbers of numpy as Python's."""
    if depth > _MAX_DEPTH:
        raise TypeError(f"nested deeper than {_MAX_DEPTH} levels")
    if value is None or type(value) in {str, int, float, bool}:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.str[1:] not in _ARRAY_TYPES:
            raise TypeError(f"an array of {value.dtype} is not plain data")
        return np.asarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
    if isinstance(value, np.bool | np.number):
        return value.item()
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise TypeError("keys must be str")
        return {key: _plain(value[key], depth + 1) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    raise TypeError(f"a {type(value).__name__} is not plain data")


class _DType:
    """Stands in for numpy.dtype while reading: a name and a byte order, no fields, no metadata, no objects."""

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:  # as numpy's
        if name not in _ARRAY_TYPES or align is not False or copy is not True:
            raise pickle.UnpicklingError("an array of a type that is not plain")
        self.dtype = np.dtype(f"<{name}")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in {"<", "|"} or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("an array of a type that is not plain")


class _Array:
    """Stands in for joblib's NumpyArrayWrapper: the array whose bytes follow in the stream."""

    def read(self, data: bytes, position: int) -> tuple[NDArray[Any], int]:
        """The array at `position`, as a view of `data`, and the position after it."""
        held = vars(self)
        shape, order, element = held["shape"], held["order"], held["dtype"]
        if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 8:
            raise pickle.UnpicklingError("an array of impossible shape")
        if type(element) is not _DType or order not in {"C", "F"} or held["numpy_array_alignment_bytes"] != 16:
            raise pickle.UnpicklingError("an array in a form that podpower does not write")
        start = position + 1 + data[position]  # one byte tells the padding that aligns the array
        count = math.prod(shape)
        size = count * element.dtype.itemsize
        if start + size > len(data):
            raise pickle.UnpicklingError("an array longer than the file")
        flat = np.frombuffer(data, dtype=element.dtype, count=count, offset=start)
        return flat.reshape(shape, order=order), start + size


class _PlainUnpickler(pickle._Unpickler):  # the C one runs all instructions
    """Runs only the instructions in `dispatch`: those for plain values, and three that are checked below.

    There is no memo, so that nothing in the result is there twice, and no cycle.
    """

    stack: list[Any]
    _ALLOWED = (
        "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
        "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND",
        "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    )  # fmt: skip
    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _ALLOWED
    }
    _STAND_INS: ClassVar[dict[tuple[str, str], Any]] = {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Array,
        ("numpy", "ndarray"): "ndarray",  # what the wrapper says it wraps; never called
        ("numpy", "dtype"): _DType,
    }

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stream = io.BytesIO(data)
        super().__init__(self._stream)

    def load(self) -> Any:
        """The payload; whatever exception the bytes lead to when it is not plain."""
        try:
            return super().load()
        except KeyError as error:  # an instruction that is not in `dispatch`
            raise pickle.UnpicklingError(f"instruction or value {error} is not allowed") from None

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of one of the three names that joblib writes for an array."""
        try:
            return self._STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] is not _DType:
            raise pickle.UnpicklingError("it calls something")
        self.stack[-1] = _DType(*arguments)

    def _load_newobj(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] is not _Array or arguments != ():
            raise pickle.UnpicklingError("it makes an object")
        self.stack[-1] = _Array()

    def _load_build(self) -> None:
        state, instance = self.stack.pop(), self.stack[-1]
        if type(instance) is _DType:
            instance.__setstate__(state)
        elif type(instance) is _Array and type(state) is dict:
            vars(instance).update(state)
            self.stack[-1], end = instance.read(self._data, self._stream.tell())
            self._stream.seek(end)
        else:
            raise pickle.UnpicklingError("it changes an object")

    dispatch[pickle.STACK_GLOBAL[0]] = pickle._Unpickler.load_stack_global  # type: ignore[attr-defined]
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.BUILD[0]] = _load_build


def _from_state(make: Callable[[Mapping[str, Any]], T], payload: dict[str, Any], *, kind: Kind) -> T:
    state = payload.get("state")
    if not isinstance(state, dict):
        raise Refused(f"has no state: {_REMAKE[kind]}")
    try:
        return make(state)
    except Refused:
        raise
    except Exception as error:  # a state of the right types but wrong content fails wherever it is first used
        raise Refused(f"its state does not fit ({_one_line(error)}): {_REMAKE[kind]}") from None
