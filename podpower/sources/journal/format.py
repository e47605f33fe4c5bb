"""The objects of a journal as bytes: a header line, then one event a line, each line with a checksum.

A header also has the digest and the number of its lines. A changed bit is found in any of them, and costs one line.
"""

import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from podpower.kubernetes.types import EventType
from podpower.sources.replay import EventLine

META: Final = "journal.json"
FORMAT, FORMAT_VERSION = "podpower-journal", 2
FLUSHES, HOURS = "flushes", "hours"
_SEAL_BYTES = len(b',"crc32":"00000000"}')
T = TypeVar("T")


class JournalMeta(msgspec.Struct, kw_only=True, frozen=True):
    """Content of journal.json. `cluster_uid` is the UID that the `kube-system` namespace had at the start, "" where it
    could not be read; `start_s` is Unix seconds.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    journal_id: str
    cluster: str
    cluster_uid: str = ""
    start_s: float


class Gap(msgspec.Struct, kw_only=True, frozen=True):
    """A time in which changes of a stream (`apps/v1/deployments@`) could not be seen, and why."""

    stream: str
    start_s: float
    end_s: float
    reason: str


class Header(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """First line of an object.

    `sequence` is the last flush that the object holds, of a snapshot the last one before it; `parts` are the sequences
    and lines of the flushes in a compacted hour. Streams resume at `versions`. `reached_s`: everything up to this time
    was seen. `gaps` are those of the hour so far, of a snapshot those before it. `closed`: the writer ended in order;
    else its next flush comes within `quiet_s`.
    """

    kind: Literal["flush", "snapshot", "events"]
    hour: str
    sequence: int
    reached_s: float
    lines: int = 0
    digest: str = ""
    writer: str = ""
    cluster_uid: str = ""
    versions: dict[str, str] = {}
    gaps: list[Gap] = []
    parts: list[tuple[int, int]] = []
    damaged: list[str] = []
    closed: bool = False
    quiet_s: float = 0.0


@dataclass(frozen=True)
class Part:
    """One object: its header, None where that is damaged, and its intact lines."""

    header: Header | None
    _data: bytes
    all_intact: bool

    def lines(self) -> Iterator[bytes]:
        """Yield the intact lines, as they are stored."""
        stream = io.BytesIO(self._data)
        stream.readline()
        for line in stream:
            if self.all_intact or _is_intact(line):
                yield line

    def events(self) -> Iterator[EventLine]:
        """Yield the intact lines as events."""
        return map(_EVENT.decode, self.lines())


def flush_name(sequence: int) -> str:
    """Return the name of a flush.

    >>> flush_name(7)
    'flushes/000000000007.ndjson'
    """
    return f"{FLUSHES}/{sequence:012}.ndjson"


def snapshot_name(hour: str) -> str:
    """Return the name of the objects alive when an hour begins."""
    return f"{HOURS}/{hour}/snapshot.ndjson"


def events_name(hour: str) -> str:
    """Return the name of the events of an hour that has ended."""
    return f"{HOURS}/{hour}/events.ndjson"


def sealed(value: msgspec.Struct) -> bytes:
    """Return the value as a line of JSON that ends with its checksum."""
    body = msgspec.json.encode(value)[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def event_line(ts: float, type_: EventType, obj: dict[str, object]) -> bytes:
    """Return the line of one event."""
    return sealed(EventLine(ts=ts, type=type_, object=obj))


def encode_part(header: Header, lines: Iterable[bytes]) -> bytes:
    """Return an object of these lines; number and digest of the lines are added to the header."""
    listed = list(lines)
    rest = b"".join(listed)
    return sealed(msgspec.structs.replace(header, lines=len(listed), digest=_digest(rest))) + rest


def decode_part(name: str, data: bytes, *, damaged: list[str]) -> Part:
    """Return the object of this name. What is damaged is skipped, and named in `damaged`."""
    begin = data.find(b"\n") + 1 or len(data)
    header = unsealed(data[:begin], Header)
    if header is not None and header.digest == _digest(memoryview(data)[begin:]):
        return Part(header, data, all_intact=True)
    if header is None:
        damaged.append(f"{name}: its header is damaged")
    part = Part(header, data, all_intact=False)
    number = 0
    for number, line in enumerate(io.BytesIO(data[begin:]), start=1):
        if not _is_intact(line):
            damaged.append(f"{name}: line {number + 1} is damaged")
    if header is not None and number < header.lines:
        damaged.append(f"{name}: {header.lines - number} lines are missing")
    return part


def unsealed(line: bytes, kind: type[T]) -> T | None:
    """Return the value of a line; None where the line is damaged."""
    if not _is_intact(line):
        return None
    try:
        return msgspec.json.decode(line, type=kind)
    except ValueError:
        return None


def _is_intact(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    body, seal = line[: -_SEAL_BYTES - 1], line[-_SEAL_BYTES - 1 : -1]
    return seal == b',"crc32":"%08x"}' % zlib.crc32(body)


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


_EVENT = msgspec.json.Decoder(EventLine)
