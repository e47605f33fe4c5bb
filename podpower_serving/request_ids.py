"""Ids of requests, which connect an answer with the lines of the log."""

import os
import random
from contextvars import ContextVar
from typing import Final

HEADER: Final = b"x-request-id"
SCOPE: Final = "request_id"  # key in the ASGI scope
_MOST: Final = 128
_PRINTABLE: Final = frozenset(range(0x21, 0x7F))

_random: Final = random.Random()  # noqa: S311  # an id is no secret, and a system call each would cost a microsecond
os.register_at_fork(after_in_child=_random.seed)  # workers have ids of their own

current: ContextVar[str | None] = ContextVar("request_id", default=None)


def is_usable(given: bytes) -> bool:
    """Return True if an id of a client is short and printable, without spaces."""
    return 0 < len(given) <= _MOST and _PRINTABLE.issuperset(given)


def new() -> str:
    """Return an id of 64 random bits in hexadecimal digits."""
    return f"{_random.getrandbits(64):016x}"
