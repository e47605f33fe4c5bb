"""Large answers into JSON, a part at a time: a single call would hold Python's lock for as long as it takes."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from podpower.client.answers import Batch

_ROWS: Final = 256  # encoded at a time: some milliseconds
_ENCODER: Final = msgspec.json.Encoder()
_PREDICTIONS: Final = b'{"predictions":'  # the first field of a batch


def encoded_list(rows: Sequence[Any]) -> bytes:
    """Return the JSON of a list."""
    parts = [_ENCODER.encode(rows[start : start + _ROWS])[1:-1] for start in range(0, len(rows), _ROWS)]
    return b"[" + b",".join(parts) + b"]"


def encoded_batch(batch: Batch) -> bytes:
    """Return the JSON of a batch."""
    rest = _ENCODER.encode(msgspec.structs.replace(batch, predictions=[]))
    return _PREDICTIONS + encoded_list(batch.predictions) + rest.removeprefix(_PREDICTIONS + b"[]")
