"""The verdict beside a partition's table: what it was made from, and whether it may be learned from.

A body reads it in place of Dagster's history. Partitions of earlier versions have none.
"""

import hashlib
from collections.abc import Mapping

import msgspec
from upath import UPath

from podpower.errors import Damaged
from podpower.io.files import exists, read_bounded, write_atomically

_MAX_BYTES = 1 << 20
_DIGEST_BYTES = 64


class PartitionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of making a partition in a run. `failed_checks` are blocking ones. With an `error`, or where it was
    `left_out` because a check failed upstream, the table, if there is one, is that of an earlier run. `has_table`: a
    table was written, so that one which is not there was lost; False where earlier versions made it.
    """

    run_id: str
    version: str = ""
    consumed: Mapping[str, Mapping[str, str]] = {}
    failed_checks: tuple[str, ...] = ()
    error: str = ""
    left_out: str = ""
    has_table: bool = False


def write_verdict(path: UPath, verdict: PartitionVerdict) -> None:
    """Write the verdict after the SHA-256 of its bytes."""
    body = msgspec.json.encode(verdict)
    write_atomically(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def read_verdict(path: UPath, *, command: str) -> PartitionVerdict | None:
    """Return the verdict; None where there is none. Damaged, with the command to make it again."""
    if not exists(path):
        return None
    stored = read_bounded(path, limit_bytes=_MAX_BYTES)
    body = stored[_DIGEST_BYTES + 1 :]
    if stored[: _DIGEST_BYTES + 1] != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise Damaged(f"{path} is damaged (SHA-256 differs): make it again with: {command}")
    return msgspec.json.decode(body, type=PartitionVerdict)
