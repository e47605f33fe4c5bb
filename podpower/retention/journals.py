"""Purge of journals: the events of a namespace's objects, in every flush, hour and snapshot."""

import contextlib
from collections.abc import Iterator
from itertools import accumulate

import msgspec

from podpower.collector.single_writer import await_silence, locked
from podpower.errors import InvalidInput
from podpower.io.files import write_atomically
from podpower.io.places import is_url, local_folder
from podpower.retention.scope import Purged, Scope
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    Header,
    decode_part,
    encode_part,
    events_name,
    flush_name,
    snapshot_name,
)
from podpower.sources.recording import META, read_meta
from podpower.sources.replay import EventLine

_MOST_DAMAGED = 100  # names in a header
_LINE = msgspec.json.Decoder(EventLine)


def purge_journal(url: str, scope: Scope, *, name: str, dry_run: bool, problems: list[str]) -> Iterator[Purged]:
    """Remove the namespace's events from the journal at `url`, and yield the objects that had any. `name` is that of
    its cluster now, the journal has the one that it began with.

    Locked while a collector writes it: its memory would write them again. Damaged objects are added to `problems`.
    InvalidInput where a cluster was recorded there: recordings are not changed.
    """
    files = JournalFiles(url)
    meta = files.meta()
    if meta is None:
        _check_recording(url, scope)
        return
    if scope.cluster not in {None, meta.cluster, name}:
        return
    with _alone(files, dry_run=dry_run):
        for part in _names(files):
            data = files.read(part)
            count, purged = _purged(f"{files}/{part}", data, scope, problems) if data is not None else (0, b"")
            if count:
                if not dry_run:
                    write_atomically(files.root / part, purged)
                yield Purged(store="journal", place=f"{meta.cluster}/{part}", count=count, unit="events")


def _names(files: JournalFiles) -> Iterator[str]:
    """Yield flushes before hours: a collector that begins now compacts only what is purged."""
    yield from map(flush_name, files.flushes())
    for hour in files.hours():
        yield from (events_name(hour), snapshot_name(hour))


def _purged(name: str, data: bytes, scope: Scope, problems: list[str]) -> tuple[int, bytes]:
    """Return how many lines of an object are of the namespace, and the object without them."""
    damaged: list[str] = []
    part = decode_part(name, data, damaged=damaged)
    header = part.header
    if header is None:
        problems.append(f"{name}: its header is damaged, so that it cannot be purged: remove it")
        return 0, data
    lines = list(part.lines())
    own = [scope.has_object(_LINE.decode(line).object) for line in lines]
    count = sum(own) + _mentions(header, scope)
    if not count:
        return 0, data
    kept = [line for line, unwanted in zip(lines, own, strict=True) if not unwanted]
    return count, encode_part(_header(header, own, scope, damaged), kept)


def _mentions(header: Header, scope: Scope) -> int:
    """Return how many streams of the namespace alone a header names."""
    return sum(map(scope.is_stream, header.versions)) + sum(scope.is_stream(gap.stream) for gap in header.gaps)


def _header(header: Header, own: list[bool], scope: Scope, damaged: list[str]) -> Header:
    ends = list(accumulate(lines for _, lines in header.parts))
    counts = [
        (number, lines - sum(own[end - lines : end])) for (number, lines), end in zip(header.parts, ends, strict=True)
    ]
    return msgspec.structs.replace(
        header,
        parts=[(number, lines) for number, lines in counts if lines],
        versions={stream: version for stream, version in header.versions.items() if not scope.is_stream(stream)},
        gaps=[gap for gap in header.gaps if not scope.is_stream(gap.stream)],
        damaged=[*header.damaged, *damaged][:_MOST_DAMAGED],
    )


@contextlib.contextmanager
def _alone(files: JournalFiles, *, dry_run: bool) -> Iterator[None]:
    """Be the only writer; on an object store, where there are no locks, after the last one has surely ended."""
    if dry_run:
        yield
        return
    await_silence(files, note=lambda _message: None)
    with locked(files) or contextlib.nullcontext():
        yield


def _check_recording(url: str, scope: Scope) -> None:
    if is_url(url):
        return
    folder = local_folder(url, what="a recording")
    if (folder / META).exists() and read_meta(folder).seed is None:
        raise InvalidInput(
            f"the recording {folder} is not changed: if it has namespace {scope.namespace}, remove it, or record again "
            "with --exclude-namespaces"
        )
