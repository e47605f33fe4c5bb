"""Answers in JSON. Large ones are encoded a part at a time: a single call would hold Python's lock for as long as it
takes. The parts are joined once, which holds it no longer than it takes to find room.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import MediaType, Response

from podpower.client.answers import Batch, DifferenceAnswer

_ROWS: Final = 256  # encoded at a time: some milliseconds
_ENCODER: Final = msgspec.json.Encoder()
_PREDICTIONS: Final = b'{"predictions":['  # the first field of a batch
_CHANGES: Final = b'{"changes":['  # and of a difference


def json_answer(content: bytes, *, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Return the answer with a body that is JSON already."""
    return Response(content=content, media_type=MediaType.JSON, headers=headers)


def encoded_rows(rows: Sequence[Any]) -> bytes:
    """Return the JSON of a few rows of a list, without its brackets."""
    return _ENCODER.encode(rows)[1:-1]


def encoded_list(rows: Sequence[Any]) -> bytes:
    """Return the JSON of a list."""
    return _joined(b"[", _parts(rows), b"]")


def encoded_batch(parts: Iterable[bytes], rest: Batch) -> bytes:
    """Return the JSON of a batch whose predictions are in `parts`, as `encoded_rows`, and not in `rest`."""
    return _joined(_PREDICTIONS, parts, _ENCODER.encode(rest).removeprefix(_PREDICTIONS))


def encoded_difference(answer: DifferenceAnswer) -> bytes:
    """Return the JSON of a difference."""
    rest = _ENCODER.encode(msgspec.structs.replace(answer, changes=[]))
    return _joined(_CHANGES, _parts(answer.changes), rest.removeprefix(_CHANGES))


def _parts(rows: Sequence[Any]) -> Iterator[bytes]:
    return (encoded_rows(rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS))


def _joined(first: bytes, parts: Iterable[bytes], last: bytes) -> bytes:
    pieces = [first]
    for part in parts:
        if part:
            pieces += (part, b",")
    if len(pieces) > 1:
        pieces.pop()
    return b"".join([*pieces, last])
