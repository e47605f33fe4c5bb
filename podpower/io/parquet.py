"""Parquet files: written whole with checksums, and verified before anything is read from them.

A file contains `PAR1`, the mark, row groups whose pages have checksums, the record, and the footer. The record is the
mark again and the SHA-256 of all bytes outside the record: page checksums alone do not cover page headers, statistics,
the footer and the magic. Parquet readers find row groups and the footer by offset, so they skip mark and record. The
mark at the start separates a file whose record is damaged from one that never had any, such as those of the reference
system, which are read as they are.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from podpower.errors import Damaged, InvalidInput
from podpower.io.files import atomic_file, opened, read_bounded
from podpower.io.places import AnyPath, is_local, place
from podpower.io.streams import is_stream

MAX_BYTES = 8 << 30
VerifiedFile: TypeAlias = pq.ParquetFile  # as `TableFile.parquet` gives it

_MAGIC = b"PAR1"
_MARK = b"\xf7podpowersha256\xf7"  # not UTF-8, so that no text in a table equals it
_RECORD_BYTES = len(_MARK) + hashlib.sha256().digest_size
_LENGTH_BYTES = 4
_CHUNK_BYTES = 1 << 20
_GROUP_BYTES = 4 << 20  # of a row group of several parts, in memory
# pyarrow raises UnicodeDecodeError for names of columns that are not UTF-8.
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, UnicodeDecodeError)


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table at `path`: a Parquet file, or what standard input holds.

    Errors name the path, `partition` and `command`, which makes the file again. Every reader raises InvalidInput when
    there is no such file, and Damaged when it is no Parquet or its bytes are not those that were written.
    """

    path: AnyPath
    command: str
    partition: str | None = None
    _verified: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self) -> pl.DataFrame:
        """Return the whole table."""
        local = self._verified_path()
        if local is None:
            return self.parse(read_bounded(self.path, limit_bytes=MAX_BYTES))
        with self.readable():
            return pl.read_parquet(local, glob=False, hive_partitioning=False)

    def parse(self, data: bytes) -> pl.DataFrame:
        """Return the table in `data`, the content of this file."""
        self._verify(io.BytesIO(data))
        with self.readable():
            return pl.read_parquet(io.BytesIO(data))

    def scan(self) -> pl.LazyFrame:
        """Return the table as a query that reads what it uses. An object store's file is fetched at once.

        The file is verified here, once. Collect the query within `readable`: the pages of a file without checksums can
        be damaged.
        """
        local = self._verified_path()
        if local is None:
            return self.read().lazy()
        query = pl.scan_parquet(local, glob=False, hive_partitioning=False)
        with self.readable():
            query.collect_schema()
        return query

    @contextlib.contextmanager
    def parquet(self) -> Iterator[VerifiedFile]:
        """Give the verified file, to be read batch by batch inside. An object store's file is fetched at once."""
        source: str | io.BytesIO | None = self._verified_path()
        if source is None:
            source = io.BytesIO(read_bounded(self.path, limit_bytes=MAX_BYTES))
            self._verify(source)
        # Pre-buffered, all of a column would be in memory at once.
        with self.readable(), pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
            yield file
        pa.default_memory_pool().release_unused()  # which otherwise keeps hundreds of MiB for the next file

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Raise Damaged, with the path, partition and command, where a Parquet reader fails inside."""
        try:
            yield
        except _UNREADABLE as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise self._error("is not a readable Parquet file", lines[0]) from error

    def _verified_path(self) -> str | None:
        """Verify a local file in chunks and return its path; None for a pipe or an object store, to be read at once.

        A file that was verified is not read again before its size or one of its times changes.
        """
        target = place(self.path)
        if not is_local(target) or is_stream(Path(str(target))):
            return None
        with opened(target) as stream:
            now = os.fstat(stream.fileno())
            state = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
            if self._verified.get("state") != state:
                self._verify(stream)
                self._verified["state"] = state
        return str(target)

    def _verify(self, stream: BinaryIO) -> None:
        if reason := _damage(stream):
            raise self._error("is damaged", reason)

    def _error(self, state: str, reason: str) -> Damaged:
        partition = f", partition {self.partition}," if self.partition else ""
        return Damaged(f"{self.path}{partition} {state}: {reason}; make it again with: {self.command}")


@contextlib.contextmanager
def scanned(files: Sequence[TableFile]) -> Iterator[list[pl.LazyFrame]]:
    """Give queries of several files, to be collected inside. InvalidInput names the file that cannot be read."""
    queries = [file.scan() for file in files]
    try:
        yield queries
    except _UNREADABLE:
        for file in files:
            file.read()
        raise


def write_parquet(table: pl.DataFrame | Iterable[pl.DataFrame], path: AnyPath) -> int:
    """Write a table, or its parts one after another, to `path`, whole or not at all; return the number of rows.

    At least one part is needed: it can have no rows, but it defines the columns. PodpowerError as
    `podpower.io.files.atomic_file`.
    """
    with atomic_file(path) as aside:
        return _write(table, aside)


def write_parquet_to(stream: BinaryIO, table: pl.DataFrame | Iterable[pl.DataFrame]) -> int:
    """Write the same to a stream that cannot seek, such as standard output."""
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "table.parquet"
        rows = _write(table, aside)
        with aside.open("rb") as whole:
            shutil.copyfileobj(whole, stream)
    return rows


def allocate_from_heap() -> None:
    """Have Arrow allocate from the heap of the C library, which `podpower.io.heap` can keep small: its own allocator
    keeps a hundred MiB of what it freed.
    """
    pa.set_memory_pool(pa.system_memory_pool())


def recorded_digest(path: AnyPath) -> str:
    """Return the SHA-256 that `write_parquet` recorded at the end of a file: the same content gives the same."""
    with opened(path) as stream:
        start = _footer_start(stream)
        stream.seek(max(start - _RECORD_BYTES, 0))
        record = stream.read(_RECORD_BYTES)
    if start < _RECORD_BYTES or not record.startswith(_MARK):
        raise InvalidInput(f"{path} has no record of its content")
    return record.removeprefix(_MARK).hex()


def _write(table: pl.DataFrame | Iterable[pl.DataFrame], path: Path) -> int:
    parts = map(_arrow, [table] if isinstance(table, pl.DataFrame) else table)
    first = next(parts)
    rows = 0
    # pyarrow and not polars: it raises OSError on a full disk.
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(sink, first.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        sink.write(_MARK)
        for group in _grouped(chain([first], (part.cast(first.schema) for part in parts))):
            writer.write_table(group)
            rows += int(group.num_rows)
    _add_record(path)
    return rows


def _grouped(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield small parts together: the writer keeps statistics of each row group in memory until the end."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        if sum(one.nbytes for one in waiting) >= _GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting)


def _arrow(table: pl.DataFrame) -> pa.Table:
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())


def _add_record(path: Path) -> None:
    """Put the record between the row groups and the footer."""
    with path.open("r+b") as stream:
        start = _footer_start(stream)
        stream.seek(start)
        footer = stream.read()
        digest = _digest(stream, end=start, footer=footer)
        stream.seek(start)
        stream.write(_MARK + digest + footer)


def _damage(stream: BinaryIO) -> str | None:
    """Return what is wrong with a file that has the mark or a record; None for an intact file and one without both."""
    head = stream.read(len(_MAGIC) + len(_MARK))
    marked = head.endswith(_MARK)
    start = _footer_start(stream)
    record = b""
    if start >= len(head) + _RECORD_BYTES:
        stream.seek(start - _RECORD_BYTES)
        record = stream.read(_RECORD_BYTES)
    recorded = record.startswith(_MARK)
    if not marked and not recorded:
        return None
    if not recorded:
        return "its end is missing or was changed"
    stream.seek(start)
    digest = _digest(stream, end=start - _RECORD_BYTES, footer=stream.read())
    if record != _MARK + digest:
        return "its bytes are not those that were written (SHA-256 differs)"
    return None


def _footer_start(stream: BinaryIO) -> int:
    """Return the offset of the footer as the file's end gives it; below 0 where that is impossible."""
    tail = _LENGTH_BYTES + len(_MAGIC)
    size = stream.seek(0, os.SEEK_END)
    if size < tail:
        return -1
    stream.seek(size - tail)
    return size - tail - int.from_bytes(stream.read(_LENGTH_BYTES), "little")


def _digest(stream: BinaryIO, *, end: int, footer: bytes) -> bytes:
    """Return the SHA-256 of the bytes before `end` and of the footer, read in chunks."""
    sha256 = hashlib.sha256()
    stream.seek(0)
    while chunk := stream.read(min(_CHUNK_BYTES, end - stream.tell())):
        sha256.update(chunk)
    sha256.update(footer)
    return sha256.digest()
