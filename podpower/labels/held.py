"""Tables that wait for the end of their hour: compressed where they are many, to a fifth of their memory."""

import io
from collections.abc import Iterator

import polars as pl

from podpower.labels.counters import TS

_PLAIN_ROWS = 100_000  # held as they are


class HeldTables:
    """Tables with a column `ts`, given back in the order in which they came."""

    def __init__(self) -> None:
        self._tables: list[pl.DataFrame | bytes] = []
        self._rows = 0

    def add(self, table: pl.DataFrame) -> None:
        """Hold a table."""
        self._rows += len(table)
        self._tables.append(table if self._rows <= _PLAIN_ROWS else _packed(table))

    def until(self, ts: float) -> Iterator[pl.DataFrame]:
        """Yield the rows at `ts` and earlier of each table, and hold only later ones."""
        held, self._tables, self._rows = self._tables[::-1], [], 0
        while held:
            one = held.pop()  # so that a table is held once
            table = _unpacked(one) if isinstance(one, bytes) else one
            earlier = pl.col(TS) <= ts
            yield table.filter(earlier)
            later = table.filter(~earlier)
            if len(later):
                self.add(later)


def _packed(table: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.write_ipc(stream, compression="lz4")
    return stream.getvalue()


def _unpacked(data: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(data))
