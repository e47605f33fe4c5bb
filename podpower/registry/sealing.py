"""The file format of artifacts: plain data that no reader has to run, inside a file that joblib opens.

A file is what `joblib.dump` writes of a dict (a description, and under `content` the bytes of the state), then a
trailer: the kind, the format version, the place of the content, and the SHA-256 of the file up to there. `joblib.load`
shows the description in a notebook; it is for files that one trusts, since a pickle is a program. `unseal` never reads
the pickle: it verifies the digest and decodes the content, which is MessagePack with numeric arrays behind it.
"""

import hashlib
import io
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
from joblib.numpy_pickle import NumpyPickler
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Refused

Kind = Literal["encoder", "knn_energy"]

FORMAT_VERSION: Final = 2
LIMIT_BYTES: Final = 4 << 30
REMAKE: Final[dict[Kind, str]] = {
    "encoder": "make it again with `podpower encode fit`",
    "knn_energy": "make it again with `podpower train`",
}

_TRAILER = re.compile(
    rb"\npodpower-artifact (?P<kind>[a-z_]{1,20}) (?P<version>[0-9]{1,6})"
    rb"(?: (?P<start>[0-9]{1,12}) (?P<size>[0-9]{1,12}))? (?P<digest>[0-9a-f]{64})\n\Z"  # format 1 has no place
)
_TRAILER_MAX_BYTES = 160
_ARRAY_TYPES: Final = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_ARRAY_CODE = 1  # of MessagePack's extension type
_ALIGNMENT = 64
_LENGTH_BYTES = 8
_PICKLE_PROTOCOL = 4
_MAX_DEPTH = 20


class _Array(msgspec.Struct, array_like=True, frozen=True):
    """An array in the content: its type, its layout, and where its bytes begin among those of all arrays."""

    dtype: str
    order: Literal["C", "F"]
    shape: tuple[int, ...]
    start: int


def seal(kind: Kind, state: Mapping[str, Any], *, description: Mapping[str, Any]) -> bytes:
    """Return the artifact of `state`: dicts, lists, str, numbers, bool, None and numeric numpy arrays.

    Equal arguments give equal bytes. TypeError when `state` has anything else in it.
    """
    if kind not in get_args(Kind):
        raise InvalidInput(f"unknown kind of artifact {kind!r}: use one of {', '.join(get_args(Kind))}")
    content = encoded(state)
    stream = io.BytesIO()
    pickler = NumpyPickler(stream, protocol=_PICKLE_PROTOCOL)
    pickler.fast = True  # no memo: bytes do not depend on which equal objects are the same object
    pickler.dump({**plain(description), "content": np.frombuffer(content, dtype=np.uint8)})
    trailer = f"\npodpower-artifact {kind} {FORMAT_VERSION} {_start_of(content, stream)} {len(content)} ".encode()
    stream.write(trailer)
    with stream.getbuffer() as view:
        digest = hashlib.sha256(view).hexdigest()
    stream.write(f"{digest}\n".encode())
    return stream.getvalue()


def unseal(data: bytes, *, kind: Kind) -> dict[str, Any]:
    """Return the state in an artifact; its arrays are read-only views of `data`.

    Refused when `data` is larger than LIMIT_BYTES, of another kind or version, damaged, or holds anything but what
    `seal` writes; nothing in it is run.
    """
    if len(data) > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES >> 20} MiB, which no artifact of podpower is: {REMAKE[kind]}")
    found = _TRAILER.search(data, max(0, len(data) - _TRAILER_MAX_BYTES))
    if found is None:
        raise Refused(f"not a whole artifact of podpower (empty, cut off or of another program): {REMAKE[kind]}")
    stored_kind, stored_version = found["kind"].decode(), found["version"].decode()
    if stored_kind != kind:
        raise Refused(f'holds "{stored_kind}" where "{kind}" is expected: were the two files swapped?')
    if stored_version != str(FORMAT_VERSION) or found["start"] is None:
        raise Refused(f"artifact format {stored_version} is not {FORMAT_VERSION}: {REMAKE[kind]}")
    whole = memoryview(data)
    if hashlib.sha256(whole[: found.start("digest")]).hexdigest() != found["digest"].decode():
        raise Refused(f"damaged, its digest does not match: copy it again or {REMAKE[kind]}")
    start, size = int(found["start"]), int(found["size"])
    if start + size > found.start():
        raise Refused(f"its content is outside of the file: do not trust it, {REMAKE[kind]}")
    try:
        state = decoded(whole[start : start + size])
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"holds more than plain data ({one_line(error)}): do not trust it, {REMAKE[kind]}") from None
    if not isinstance(state, dict):
        raise Refused(f"holds a {type(state).__name__} where a dict is expected: {REMAKE[kind]}")
    return state


def encoded(state: Mapping[str, Any]) -> bytes:
    """Return the content of an artifact: a length, the tree as MessagePack, and the bytes of its arrays, aligned.

    TypeError when `state` is not plain data.
    """
    arrays = bytearray()

    def add(array: Any) -> msgspec.msgpack.Ext:
        arrays.extend(bytes(-len(arrays) % _ALIGNMENT))
        order: Literal["C", "F"] = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        reference = _Array(dtype=array.dtype.str[1:], order=order, shape=array.shape, start=len(arrays))
        arrays.extend(array.tobytes(order=order))
        return msgspec.msgpack.Ext(_ARRAY_CODE, msgspec.msgpack.encode(reference))

    tree = msgspec.msgpack.encode(plain(state), enc_hook=add)
    head = len(tree).to_bytes(_LENGTH_BYTES, "little") + tree
    return head + bytes(-len(head) % _ALIGNMENT) + arrays


def decoded(content: memoryview) -> Any:
    """Return the data in the content of an artifact. TypeError, ValueError or RecursionError when it is not plain."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    arrays = content[end + -end % _ALIGNMENT :]

    def read(code: int, data: memoryview) -> NDArray[Any]:
        if code != _ARRAY_CODE:
            raise ValueError("a value of an unknown type")
        return _array(msgspec.msgpack.decode(data, type=_Array), arrays)

    return plain(msgspec.msgpack.decode(content[_LENGTH_BYTES:end], ext_hook=read))


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as it is written: keys in order, tuples as lists, numbers of numpy as Python's.

    TypeError when it is nested too deeply or is not plain data.
    """
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
        return {key: plain(value[key], depth + 1) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    raise TypeError(f"a {type(value).__name__} is not plain data")


def one_line(error: Exception) -> str:
    """Return the message of an error without line breaks, cut to 200 characters."""
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _array(reference: _Array, arrays: memoryview) -> NDArray[Any]:
    if reference.dtype not in _ARRAY_TYPES or len(reference.shape) > 8 or min(reference.shape, default=0) < 0:
        raise ValueError("an array of a type or shape that is not plain")
    dtype = np.dtype(f"<{reference.dtype}")
    size = math.prod(reference.shape) * dtype.itemsize
    if reference.start < 0 or reference.start + size > len(arrays):
        raise ValueError("an array longer than the file")
    flat = np.frombuffer(arrays[reference.start : reference.start + size], dtype=dtype)
    return flat.reshape(reference.shape, order=reference.order)


def _start_of(content: bytes, stream: io.BytesIO) -> int:
    """Return where joblib wrote the content, which is the last value of the dict: a few bytes end the pickle."""
    with stream.getbuffer() as view:
        end = len(view)
        for start in range(end - len(content), max(-1, end - len(content) - 64), -1):
            if view[start : start + len(content)] == content:
                return start
    raise AssertionError("joblib did not write the content as it is")
