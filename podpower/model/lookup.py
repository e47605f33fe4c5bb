"""Columns of texts at the scale of millions: one buffer instead of millions of objects, and a lookup without a dict."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import MeasuredEntries

_DICT_TEXTS: Final = 100_000
_FINITE: Final = ("vectors", "power_w", "seconds", "share", "spread", "next_spread")
_TEXTS: Final = ("spec_hashes", "clusters", "namespaces", "kinds", "names", "controllers", "image_keys")


class Strings(Sequence[str]):
    """An immutable sequence of texts, kept as UTF-8 in one array with the offsets of their ends in another."""

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """ValueError when the offsets do not describe the data."""
        if ends.ndim != 1 or data.ndim != 1 or (np.diff(ends, prepend=0) < 0).any():
            raise ValueError("offsets of texts are out of order")
        if (int(ends[-1]) if len(ends) else 0) != len(data):
            raise ValueError("offsets of texts do not fit their bytes")
        self._data, self._ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        """Return the same texts, packed."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        start = int(self._ends[position - 1]) if position else 0
        return self._data[start : int(self._ends[position])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other))  # noqa: B905

    def __hash__(self) -> int:
        return hash((len(self), self._data.tobytes()))

    def state(self) -> dict[str, Any]:
        """Return two numeric arrays, for the artifact."""
        return {"data": self._data, "ends": self._ends}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Strings":
        """Return the texts that gave `state`. ValueError when it is not one."""
        return cls(np.asarray(state["data"]), np.asarray(state["ends"]))


class Lookup:
    """The positions of a text in a sequence: by a dict of few, by sorted digests of many."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._positions: dict[str, list[int]] | None = None
        if len(texts) <= _DICT_TEXTS:
            self._positions = {}
            for position, text in enumerate(texts):
                self._positions.setdefault(text, []).append(position)
            return
        digests = np.fromiter(map(_digest, texts), dtype=np.uint64, count=len(texts))
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]

    def find_all(self, texts: Iterable[str]) -> dict[int, list[int]]:
        """Return the positions of each text that is there, by its place in `texts`."""
        if self._positions is not None:
            get = self._positions.get
            return {place: found for place, text in enumerate(texts) if (found := get(text))}
        return {place: found for place, text in enumerate(texts) if (found := self.find(text))}

    def find(self, text: str) -> list[int]:
        """Return the positions, ascending; none where it is not there."""
        if self._positions is not None:
            return self._positions.get(text, [])
        digest = np.uint64(_digest(text))
        first, last = np.searchsorted(self._digests, digest, "left"), np.searchsorted(self._digests, digest, "right")
        return [int(at) for at in self._order[first:last] if self._texts[int(at)] == text]


def entries_state(entries: MeasuredEntries) -> dict[str, Any]:
    """Return numeric arrays only, for the artifact."""
    columns = {field.name: getattr(entries, field.name) for field in fields(entries)}
    return {name: Strings.of(column).state() if name in _TEXTS else column for name, column in columns.items()}


def entries_from_state(state: Mapping[str, Any]) -> MeasuredEntries:
    """Return the entries that gave `state`. ValueError when its columns do not fit together."""
    columns: dict[str, Any] = {name: _texts(column) if name in _TEXTS else column for name, column in state.items()}
    if (
        set(columns) != {field.name for field in fields(MeasuredEntries)}
        or len({len(c) for c in columns.values()}) != 1
    ):
        raise ValueError("columns of the index differ in length")
    arrays = {name: column for name, column in columns.items() if name not in _TEXTS}
    if any(array.ndim != (2 if name == "vectors" else 1) for name, array in arrays.items()):
        raise ValueError("columns of the index have a wrong shape")
    if not all(np.isfinite(arrays[name]).all() for name in _FINITE):
        raise ValueError("the index holds numbers that are not finite")
    return MeasuredEntries(**columns)


def _texts(state: Mapping[str, Any]) -> Sequence[str]:
    """Return a column as a list where it is short, since every prediction reads names of it."""
    texts = Strings.from_state(state)
    return list(texts) if len(texts) <= _DICT_TEXTS else texts


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
