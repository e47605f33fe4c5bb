"""Projected texts of requests, composed of projected words that are kept: words repeat, specs do not.

A text is the sum of its words, so its projection is the sum of theirs. Each word's n-grams are projected once; what is
kept is bounded. Neither what was kept before nor the batch shows in a single bit of a vector: a word's row comes from
the word alone, and a text's row from the rows of its words in their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from podpower.features.ngrams import (
    FIELD_WEIGHTS,
    LEAST_NORM,
    SKETCH_DIM,
    TEXT_DIM,
    Texts,
    bucket_values,
    distinct_words,
    request_words,
    sketches,
    word_cells,
)
from podpower.specs.requests import InferenceRequest

K = TypeVar("K")
V = TypeVar("V")

_MAX_WORDS: Final = 4096  # kept twice at most, of 2 KiB each
_MAX_TEXTS: Final = 8192  # of at most _MAX_CHARS, kept twice at most, of 1 KiB each
_MAX_CHARS: Final = 512  # of a text that is composed of words; longer ones are projected as a whole
_CHUNK_TEXTS: Final = 8  # composed at a time: their sketches stay in the processor's cache
_POSITIVE_ZERO: Final = np.float32(0.0)  # added, so that no zero is negative
_WEIGHTS: Final = tuple(FIELD_WEIGHTS.values())


class Recent(Generic[K, V]):
    """A mapping of the keys used last, at most twice `most` of them. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where it is not kept."""
        value = self._new.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Keep a value; the keys that were not used for long make room."""
        if len(self._new) >= self._most:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def __len__(self) -> int:
        return len(self._new) + len(self._old)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word's projection (TEXT_DIM,), and the cells of its sketch with their values."""

    row: NDArray[np.float32]
    cells: NDArray[np.int64]
    values: NDArray[np.float64]


class Projector:
    """Projects texts by one encoder's word rarities and projection. Threads may share it."""

    def __init__(self, idf: NDArray[np.float32], projection: NDArray[np.float32]) -> None:
        self._idf, self._of_bucket, self._projection = idf, bucket_values(idf), projection
        self._words: Recent[str, _Word] = Recent(_MAX_WORDS)
        self._texts: Recent[Texts, NDArray[np.float32]] = Recent(_MAX_TEXTS)

    def vectors(self, requests: Sequence[InferenceRequest]) -> NDArray[np.float32]:
        """Return (n, TEXT_DIM) of about unit length, or zeros where a request has no words."""
        texts = [request_words(request) for request in requests]
        rows: dict[Texts, NDArray[np.float32]] = {}
        for text in texts:  # pods of one template have the same texts
            if text not in rows and (row := self._texts.get(text)) is not None:
                rows[text] = row
        if missing := dict.fromkeys(text for text in texts if text not in rows):
            rows |= self._projected_texts(list(missing))
        return np.concatenate([rows[text] for text in texts]).reshape(len(texts), TEXT_DIM)

    def _projected_texts(self, missing: Sequence[Texts]) -> dict[Texts, NDArray[np.float32]]:
        """Return the row of each text that is not kept; those of short ones are from now on."""
        rows: dict[Texts, NDArray[np.float32]] = {}
        short = [text for text in missing if sum(map(len, text)) <= _MAX_CHARS]
        for start in range(0, len(short), _CHUNK_TEXTS):
            part = short[start : start + _CHUNK_TEXTS]
            rows.update(zip(part, self._composed(part), strict=True))
        for text in missing:
            if text not in rows:
                rows[text] = self._whole(text)
            else:
                self._texts.keep(text, rows[text])
        return rows

    def _whole(self, text: Texts) -> NDArray[np.float32]:
        """Return the row of a text, over the cells of its own sketch only."""
        sketch = sketches([text], self._idf)[0]
        used = np.flatnonzero(sketch)
        return _sum(sketch[used], self._projection[used]) + _POSITIVE_ZERO

    def _composed(self, texts: Sequence[Texts]) -> list[NDArray[np.float32]]:
        """Return the row of each text from those of its words."""
        words = [[(word, at) for at, field in enumerate(text) for word in distinct_words(field)] for text in texts]
        known = self._known(dict.fromkeys(word for of_text in words for word, _ in of_text))
        used = [(row, known[word], _WEIGHTS[at]) for row, of_text in enumerate(words) for word, at in of_text]
        if not used:
            return [np.zeros(TEXT_DIM, dtype=np.float32) for _ in texts]
        owner = np.array([row for row, _, _ in used])
        weights = np.array([weight for _, _, weight in used])
        lengths = np.array([len(word.cells) for _, word, _ in used])
        cells = np.concatenate([word.cells for _, word, _ in used]) + np.repeat(owner * SKETCH_DIM, lengths)
        values = np.concatenate([word.values for _, word, _ in used]) * np.repeat(weights, lengths)
        sketched = np.bincount(cells, values, len(texts) * SKETCH_DIM).reshape(len(texts), SKETCH_DIM)
        norms = np.maximum(np.sqrt(np.vecdot(sketched, sketched)), LEAST_NORM).astype(np.float32)
        stacked = np.array([word.row for _, word, _ in used])
        rows, start = np.empty((len(texts), TEXT_DIM), dtype=np.float32), 0
        for row, end in enumerate(np.cumsum(np.bincount(owner, minlength=len(texts))).tolist()):
            rows[row] = _sum(weights[start:end], stacked[start:end])
            start = end
        rows /= norms[:, None]
        rows += _POSITIVE_ZERO
        return list(rows)

    def _known(self, words: dict[str, None]) -> dict[str, _Word]:
        """Return all of the words, those that are not kept projected anew."""
        found = {word: self._words.get(word) for word in words}
        new = [word for word, known in found.items() if known is None]
        known = {word: value for word, value in found.items() if value is not None}
        if new:
            for word, value in zip(new, self._projected(new), strict=True):
                known[word] = value
                self._words.keep(word, value)
        return known

    def _projected(self, words: Sequence[str]) -> list[_Word]:
        cells, values, ends = word_cells(words, self._of_bucket)
        found, start = [], 0
        for end in ends.tolist():
            own, weights = cells[start:end].copy(), values[start:end].copy()
            found.append(_Word(row=_sum(weights, self._projection.take(own, axis=0)), cells=own, values=weights))
            start = end
        return found


def _sum(weights: NDArray[np.float64], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    # Not by BLAS, whose threads and kernels differ with the shape.
    total: NDArray[np.float32] = np.einsum("i,ij->j", weights.astype(np.float32), rows)
    return total
