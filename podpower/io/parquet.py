"""Parquet files: written whole with a checksum, and verified before anything is read from them.

A file contains `PAR1`, row groups, the record, and the footer. The record is a mark and the SHA-256 of all bytes
outside the record: page checksums would cover neither page headers, statistics, the footer nor the magic. Parquet
readers find row groups and the footer by offset, so they skip the record. A second mark, in the key-value metadata of
the footer, separates a file whose record is damaged from one that never had any, such as those of the reference
system, which are read as they are. Files of earlier versions have the second mark at the start, after `PAR1`.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore
from types import TracebackType
from typing import IO, TYPE_CHECKING, BinaryIO, TypeAlias

import polars as pl
from polars.io.plugins import register_io_source

from podpower.errors import Damaged, InvalidInput
from podpower.io.files import atomic_file, opened, read_bounded
from podpower.io.places import AnyPath, is_local, place
from podpower.io.streams import is_stream

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile
    from typing_extensions import Buffer

    VerifiedFile: TypeAlias = ParquetFile  # as `TableFile.parquet` gives it

MAX_BYTES = 8 << 30

_MAGIC = b"PAR1"
_MARK = b"\xf7podpowersha256\xf7"  # not UTF-8, so that no text in a table equals it
_RECORD_BYTES = len(_MARK) + hashlib.sha256().digest_size
_LENGTH_BYTES = 4
_CHUNK_BYTES = 1 << 20
_NAME, _FOOTER_MARK = "podpower", "a SHA-256 is before this footer"
_WRITER = b"Polars (python)"  # as it names itself: other writers keep the metadata of a file that they read
_FOOTER_END_BYTES = 64 << 10  # with the metadata, which follows the row groups
_GROUP_ROWS = 50_000  # of a row group: the writer has one in memory, and statistics of all
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


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
    def parquet(self) -> "Iterator[VerifiedFile]":
        """Give the verified file, to be read batch by batch inside. An object store's file is fetched at once."""
        import pyarrow as pa  # noqa: PLC0415  # takes 50 MiB, and only this needs it
        import pyarrow.parquet as pq  # noqa: PLC0415

        source: str | io.BytesIO | None = self._verified_path()
        if source is None:
            source = io.BytesIO(read_bounded(self.path, limit_bytes=MAX_BYTES))
            self._verify(source)
        failures = (pa.ArrowException, UnicodeDecodeError)  # the latter for names of columns
        options = {"pre_buffer": False}  # else all of a column would be in memory at once
        with self.readable(*failures), pq.ParquetFile(source, page_checksum_verification=True, **options) as file:
            yield file
        pa.default_memory_pool().release_unused()  # which otherwise keeps hundreds of MiB for the next file

    @contextlib.contextmanager
    def readable(self, *failures: type[Exception]) -> Iterator[None]:
        """Raise Damaged, with the path, partition and command, where polars fails inside, or one of `failures` is."""
        try:
            yield
        except _UNREADABLE + failures as error:
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
    import pyarrow as pa  # noqa: PLC0415

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
    parts = iter([table] if isinstance(table, pl.DataFrame) else table)
    first = next(parts)
    rows = 0
    with path.open("w+b") as file:
        target = _Target(file)
        with _Sink(target, first.schema) as sink:
            for part in chain([first], parts):
                sink.write(part)
                rows += len(part)
        _add_record(file, target.sha256.digest())
    return rows


class _Target(io.RawIOBase):
    """A file that polars writes to, with the SHA-256 of what was written, and the error that polars would wrap, and
    raise only when all parts are made.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(data)
        return written


class _Sink:
    """Writes parts of a table by a streaming query of polars, in a thread of its own: errors and signals are raised
    where the parts are made, and one is encoded while the next is made.
    """

    def __init__(self, target: _Target, schema: pl.Schema) -> None:
        self._target, self._schema = target, schema
        self._parts = SimpleQueue[pl.DataFrame | None]()
        self._wanted = Semaphore(0)  # parts that polars waits for; one more when it has ended
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parquet")
        self._ended = self._pool.submit(self._query)
        self._ended.add_done_callback(lambda _: self._wanted.release())

    def write(self, part: pl.DataFrame) -> None:
        """Hand over a part once it is wanted. OSError where the file cannot be written."""
        self._wanted.acquire()
        if self._target.error or self._ended.done():
            self._check()
        self._parts.put(part.cast(self._schema))

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._parts.put(None)
        self._pool.shutdown()
        if error is None:
            self._check()

    def _query(self) -> None:
        query = register_io_source(self._given, schema=self._schema, validate_schema=True)
        target: IO[bytes] = self._target  # type: ignore[assignment]  # of which polars uses `write`
        metadata = {_NAME: _FOOTER_MARK}
        query.sink_parquet(target, row_group_size=_GROUP_ROWS, metadata=metadata, engine="streaming")

    def _given(self, *_: object) -> Iterator[pl.DataFrame]:
        while True:
            self._wanted.release()
            part = self._parts.get()
            if part is None:
                return
            yield part

    def _check(self) -> None:
        if self._target.error:
            raise self._target.error
        self._ended.result()


def _add_record(file: BinaryIO, digest: bytes) -> None:
    """Put the record between the row groups and the footer."""
    start = _footer_start(file)
    file.seek(start)
    footer = file.read()
    file.seek(start)
    file.write(_MARK + digest + footer)


def _damage(stream: BinaryIO) -> str | None:
    """Return what is wrong with a file that has a mark or a record, or lacks its end; None for an intact file, and for
    one that never had any.
    """
    start = _footer_start(stream)
    record = b""
    if start >= len(_MAGIC) + _RECORD_BYTES:
        stream.seek(start - _RECORD_BYTES)
        record = stream.read(_RECORD_BYTES)
    if not record.startswith(_MARK):
        return "its end is missing or was changed" if _is_cut(stream) or _is_marked(stream) else None
    stream.seek(start)
    digest = _digest(stream, end=start - _RECORD_BYTES, footer=stream.read())
    if record != _MARK + digest:
        return "its bytes are not those that were written (SHA-256 differs)"
    return None


def _is_cut(stream: BinaryIO) -> bool:
    """Return True if the file begins as Parquet and does not end as such."""
    stream.seek(0)
    if stream.read(len(_MAGIC)) != _MAGIC:
        return False
    stream.seek(-len(_MAGIC), os.SEEK_END)
    return stream.read() != _MAGIC


def _is_marked(stream: BinaryIO) -> bool:
    """Return True if the file has a mark: in its footer, wherever that begins, or at its start."""
    stream.seek(0)
    if stream.read(len(_MAGIC) + len(_MARK)).endswith(_MARK):
        return True
    stream.seek(max(stream.seek(0, os.SEEK_END) - _FOOTER_END_BYTES, 0))
    end = stream.read()
    return _FOOTER_MARK.encode() in end and _WRITER in end


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
    buffer, left = memoryview(bytearray(_CHUNK_BYTES)), end
    while left and (read := stream.readinto(buffer[: min(_CHUNK_BYTES, left)])):  # type: ignore[attr-defined]
        sha256.update(buffer[:read])
        left -= read
    sha256.update(footer)
    return sha256.digest()
