"""API keys of the prediction service: a file of `name:scheme:hash` lines, which holds no key.

A key is 256 random bits, so SHA-256 of it is as hard to revert as the key is to guess: a slow hash would only cost
time. `podpower keys new` makes keys, `podpower_serving.access` compares them.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from podpower.errors import InvalidInput, Unavailable
from podpower.io.streams import check_no_stream

SCHEME: Final = "sha256"
MAX_KEY_CHARACTERS: Final = 256
MOST_KEYS: Final = 1000
_MAX_FILE_BYTES: Final = 1 << 20
_PREFIX: Final = "pp_"  # so that scanners for secrets can find a key that was committed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_HASH = re.compile(r"[0-9a-f]{64}")


def new_key() -> str:
    """Return a new key of 256 random bits.

    >>> len(new_key())
    46
    """
    return _PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> bytes:
    """Return the digest of a key."""
    return hashlib.sha256(key.encode()).digest()


def line_of(name: str, key: str) -> str:
    """Return the line of the file for a key. InvalidInput for a name that the file cannot hold.

    >>> line_of("ci", "pp_example")[:22]
    'ci:sha256:c73a2ba4bffe'
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput("a key's name has 1 to 63 letters, digits, dots, dashes, underscores or @")
    return f"{name}:{SCHEME}:{hashed(key).hex()}"


def read_keys(path: str | os.PathLike[str]) -> dict[bytes, str]:
    """Return the name of each key by its digest. Unavailable when the file cannot be read, Refused where it is a
    pipe, InvalidInput names the line that is wrong; the content of a line is in no message.
    """
    check_no_stream(Path(path))
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read the API keys at {path}: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInput(f"{path} has more than {_MAX_FILE_BYTES} bytes")
    return _parsed(data, str(path))


def _parsed(data: bytes, path: str) -> dict[bytes, str]:
    keys: dict[bytes, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, _, rest = text.partition(":")
        scheme, _, digest = rest.partition(":")
        if not _NAME.fullmatch(name) or not _HASH.fullmatch(digest):
            raise InvalidInput(
                f"{path}, line {number}: write name:{SCHEME}:hash, as `podpower keys new NAME` prints it"
            )
        if scheme != SCHEME:
            raise InvalidInput(f"{path}, line {number}: the scheme must be {SCHEME}")
        _check_new(keys, name, f"{path}, line {number}")
        keys[bytes.fromhex(digest)] = name
    if not keys:
        raise InvalidInput(f"{path} has no key: add a line that `podpower keys new NAME` prints")
    return keys


def _check_new(keys: Mapping[bytes, str], name: str, where: str) -> None:
    if name in keys.values():
        raise InvalidInput(f"{where}: there are two keys of this name")
    if len(keys) == MOST_KEYS:
        raise InvalidInput(f"{where}: there are more than {MOST_KEYS} keys")
