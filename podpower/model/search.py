"""The search for the entries nearest to a vector: exact where there are few, else by an inverted file of faiss.

Results do not depend on the batch: a matrix product only screens, and every distance that is returned comes from the
two vectors alone. Above EXACT_ENTRIES the search is approximate: vectors are assigned to lists around centroids, and
only the `nprobe` nearest lists are scanned (Jegou, Douze and Schmid, "Product quantization for nearest neighbor
search", TPAMI 33(1), 2011). The lists are stored as plain arrays, so that no foreign index format is ever parsed.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from podpower.errors import Unavailable
from podpower.extras import how_to_install

T = TypeVar("T")
_Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]  # queries, entries, squared distances

EXACT_ENTRIES: Final = 10_000  # below, a matrix product answers in a millisecond
_MANY_QUERIES: Final = 512  # as training and evaluation ask
_MOST_THREADS: Final = 4
_CHUNK_CELLS = 1 << 22  # distances held at a time: 16 MB of float32
_BLOCK, _BLOCK_CELLS = 1 << 13, 1 << 21  # entries, and distances of them, that a search of many compares at a time
_FEW: Final = 256  # entries; so few are all compared in double precision, and stay in the processor's cache
_UNSCREENED: Final = 64  # entries; where some are left out, so few are compared one by one
_ROUNDING: Final = 1e-13  # of the sum of squared lengths: what remains of equal vectors
_SCREEN_ERROR: Final = 1.2e-7  # a column, of the sum of squared lengths: what a float32 product can be off by


@dataclass(frozen=True, kw_only=True)
class InvertedFile:
    """Lists of an approximate search: `centroids` (c, dim), the `list_of` each entry (n,), how many lists are scanned,
    and the share of true neighbours among the ten nearest that this was measured to find.
    """

    centroids: NDArray[np.float32]
    list_of: NDArray[np.int64]
    nprobe: int
    recall_at_10: float

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers."""
        return {name: getattr(self, name) for name in ("centroids", "list_of", "nprobe", "recall_at_10")}


class Search:
    """The entries nearest to a vector. Threads may share it."""

    def __init__(
        self, vectors: NDArray[Any], scales: NDArray[np.float32], inverted_file: InvertedFile | None = None
    ) -> None:
        """`scales` (dim,) multiply the columns of `vectors`. ValueError when the inverted file is not of these;
        Unavailable without faiss where one is given.
        """
        self._count, self._scales, self._index = len(vectors), scales, None
        if inverted_file is None:
            self._exact = np.multiply(vectors, scales, dtype=np.float32)
            self._norms = np.einsum("ij,ij->i", self._exact, self._exact)
            self._longest = float(self._norms.max(initial=0.0))
            if self._count <= _FEW:
                few = self._exact.astype(np.float64)
                self._few_norms = np.vecdot(few, few)
                self._twice_few = 2.0 * few
            return
        lists, of = inverted_file.centroids, inverted_file.list_of
        if of.shape != (len(vectors),) or lists.shape[1:] != vectors.shape[1:]:
            raise ValueError("the inverted file does not fit the vectors")
        if not 0 <= of.min(initial=0) <= of.max(initial=0) < len(lists) or inverted_file.nprobe < 1:
            raise ValueError("lists of the inverted file are out of range")
        self._index = _faiss_index(vectors, scales, inverted_file)

    @property
    def finds_fewer(self) -> bool:
        """True where a search can find fewer entries than there are."""
        return self._index is not None

    def set_nprobe(self, nprobe: int) -> None:
        """Scan so many lists from now on."""
        assert self._index is not None  # noqa: S101 - of an approximate search only
        self._index.nprobe = nprobe

    def near(
        self,
        queries: NDArray[np.float32],
        count: int,
        *,
        groups: NDArray[np.int64] | None = None,
        own_groups: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return positions and squared distances of the `count` nearest entries of each vector, (m, count), nearest
        first.

        Ties go to the lower position. Entries of `groups` (n,) equal to the query's of `own_groups` (m,) are left out.
        Fewer columns where there are fewer entries; where too few were found, the position is 0 and the distance
        infinite.
        """
        count = min(count, self._count)
        if count and self._count <= _FEW and groups is None and self._index is None:
            return self._nearest_of_few(queries, count)
        near, squared = np.zeros((len(queries), count), dtype=np.int64), np.full((len(queries), count), np.inf)
        if not count:
            return near, squared
        queries = np.multiply(queries, self._scales, dtype=np.float32)
        left_out = None if groups is None or own_groups is None else (groups, own_groups)
        if self._index is not None:
            self._approximate_near(queries, left_out, near, squared)
            return near, squared
        threads = _threads(len(queries))
        rows = max(1, _CHUNK_CELLS // threads // self._count)

        def search(part: slice) -> None:
            allowed = None if left_out is None else left_out[0] != left_out[1][part, None]
            self._exact_near(queries[part], allowed, near[part], squared[part])

        _in_threads(search, [slice(start, start + rows) for start in range(0, len(queries), rows)], threads=threads)
        return near, squared

    def _nearest_of_few(
        self, queries: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return positions and squared distances of the nearest of few entries, (m, count).

        Products of pairs, one by one: those of matrices round differently in another batch.
        """
        precise = np.multiply(queries, self._scales, dtype=np.float32).astype(np.float64)
        lengths = self._few_norms + np.vecdot(precise, precise)[:, None]
        distance = lengths - np.vecdot(self._twice_few, precise[:, None])
        lengths *= _ROUNDING
        np.copyto(distance, 0.0, where=distance < lengths)
        order = distance.argsort(axis=1, kind="stable")[:, :count]
        return order, distance.take(order + np.arange(0, distance.size, self._count)[:, None])

    def _approximate_near(
        self,
        queries: NDArray[np.float32],
        left_out: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
        near: NDArray[np.int64],
        squared: NDArray[np.float64],
    ) -> None:
        """Write the nearest entries into `near` and `squared`, (m, count), as far as the scanned lists have them."""
        count = near.shape[1]
        own = np.zeros(len(queries), dtype=np.int64) if left_out is None else np.bincount(left_out[0])[left_out[1]]

        def search(rows: range) -> None:
            for row in rows:
                found, distance = self._approximate(queries[row], min(self._count, count + int(own[row])))
                if left_out is not None:
                    others = left_out[0][found] != left_out[1][row]
                    found, distance = found[others], distance[others]
                order = np.argsort(distance, kind="stable")[:count]
                near[row, : len(order)], squared[row, : len(order)] = found[order], distance[order]

        threads = _threads(len(queries))
        _in_threads(search, [range(number, len(queries), threads) for number in range(threads)])

    def _exact_near(
        self,
        queries: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
        near: NDArray[np.int64],
        squared: NDArray[np.float64],
    ) -> None:
        """Write the nearest of the allowed entries (m, n) into `near` and `squared`, (m, count)."""
        _add_nearest([self.pairs(queries, allowed, near.shape[1])], near, squared)

    def pairs(
        self,
        queries: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
        count: int,
        *,
        within: NDArray[np.float64] | None = None,
        first: int = 0,
    ) -> _Pairs:
        """Return pairs of a scaled query and an allowed entry, ascending, with their squared distance: the `count`
        nearest entries for certain, those `within` squared distances (m,) where these are finite. `first` is added to
        positions of entries.
        """
        of, found = self._candidates(queries, allowed, count, within)
        return of, found + first, self._distances(queries, of, found)

    def _screened(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared distances (m, n) up to the query's own norm and a rounding error."""
        screened: NDArray[np.float32] = (
            (self._exact @ queries[0])[None] if len(queries) == 1 else queries @ self._exact.T
        )
        screened *= np.float32(-2.0)
        screened += self._norms
        return screened

    def _candidates(
        self,
        queries: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
        count: int,
        within: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs of a query and an entry, ascending, among which the nearest entries are for certain."""
        if self._count <= _UNSCREENED:
            there = np.ones((len(queries), self._count), dtype=bool) if allowed is None else allowed
            return np.nonzero(there)  # type: ignore[return-value]
        screened = self._screened(queries)
        if allowed is not None:
            np.copyto(screened, np.float32(np.inf), where=~allowed)
        lengths = np.einsum("ij,ij->i", queries, queries).astype(np.float64)
        error = _SCREEN_ERROR * queries.shape[1] * (lengths + self._longest)
        if within is not None and np.isfinite(within).all():
            limits = within - lengths + 2.0 * error
        else:
            place = min(count, self._count) - 1
            limits = np.partition(screened, place, axis=1)[:, place].astype(np.float64) + error
        there = screened <= limits[:, None]
        return np.nonzero(there if allowed is None else there & allowed)  # type: ignore[return-value]

    def _distances(
        self, queries: NDArray[np.float32], of: NDArray[np.int64], found: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return squared distances of pairs, each from its two vectors alone."""
        squared = np.empty(len(of), dtype=np.float32)
        ends = np.cumsum(np.bincount(of, minlength=len(queries))).tolist()
        start = 0
        for query, end in zip(queries, ends, strict=True):  # one by one: small arrays stay in the processor's cache
            part = found[start:end]
            differences = (self._exact if len(part) == self._count else self._exact[part]) - query
            np.einsum("ij,ij->i", differences, differences, out=squared[start:end])
            start = end
        return squared.astype(np.float64)

    def _approximate(self, query: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        # One query at a time: of several, faiss compares centroids by a matrix product.
        squared, near = self._index.search(np.ascontiguousarray(query[None], dtype=np.float32), count)  # type: ignore[union-attr]
        found = near[0] >= 0
        ascending = np.argsort(near[0][found], kind="stable")
        return near[0][found][ascending], np.maximum(squared[0][found][ascending], 0.0).astype(np.float64)


def exact_near(
    vectors: NDArray[Any],
    scales: NDArray[np.float32],
    queries: NDArray[np.float32],
    count: int,
    *,
    groups: NDArray[np.int64] | None = None,
    own_groups: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what an exact `Search` of the vectors finds near the queries, without a scaled copy of all vectors.

    Vectors are compared block by block. Only those of a block that can be nearer than the nearest found before are
    compared one by one.
    """
    count = min(count, len(vectors))
    queries = np.multiply(queries, scales, dtype=np.float32)
    near, squared = np.zeros((len(queries), count), dtype=np.int64), np.full((len(queries), count), np.inf)
    left_out = None if groups is None or own_groups is None else (groups, own_groups)

    rows = _BLOCK_CELLS // _BLOCK
    parts = [_Part(slice(start, start + rows)) for start in range(0, len(queries), rows)]
    for first in range(0, len(vectors), _BLOCK) if count else ():
        block = Search(vectors[first : first + _BLOCK], scales)

        def search(part: _Part, block: Search = block, first: int = first) -> None:
            at = part.at
            allowed = None if left_out is None else left_out[0][first : first + _BLOCK] != left_out[1][at, None]
            part.found.append(block.pairs(queries[at], allowed, count, within=squared[at, -1], first=first))
            # Sorted rarely, in proportion to what is found.
            if first + _BLOCK >= len(vectors) or sum(len(of) for of, _, _ in part.found) >= near[at].size:
                _add_nearest(part.found, near[at], squared[at])
                part.found.clear()

        _in_threads(search, parts, threads=_cores() if len(vectors) > _BLOCK else 1)
    return near, squared


@dataclass(frozen=True)
class _Part:
    """Some of many queries, and what was found near them and is not sorted yet."""

    at: slice
    found: list[_Pairs] = field(default_factory=list)


def _threads(queries: int) -> int:
    """Return the number of threads for so many queries: few, as of a request, are answered in the caller's own."""
    return 1 if queries < _MANY_QUERIES else _cores()


def _cores() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)


def _in_threads(search: Callable[[T], None], parts: Sequence[T], *, threads: int = _MOST_THREADS) -> None:
    """Search each part: faiss and numpy let other threads run meanwhile."""
    if threads == 1 or len(parts) == 1:
        for part in parts:
            search(part)
        return
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - for many queries only

    # Threads of a matrix product would wait for each other, and spin meanwhile.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max_workers=threads) as pool:
        for done in [pool.submit(search, part) for part in parts]:
            done.result()


def _add_nearest(pending: Sequence[_Pairs], near: NDArray[np.int64], squared: NDArray[np.float64]) -> None:
    """Write the nearest of pairs, and of those that are there, into `near` and `squared`, (m, count). Of equal
    distances those that are there come first, then those of earlier pairs.
    """
    rows, places = np.nonzero(np.isfinite(squared))
    columns = zip((rows, near[rows, places], squared[rows, places]), *pending, strict=True)
    of, found, distance = (np.concatenate(column) for column in columns)
    order = np.lexsort((distance, of))
    counts = np.bincount(of, minlength=len(near))
    place = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < near.shape[1]
    at, order = (of[order][kept], place[kept]), order[kept]
    near[at], squared[at] = found[order], distance[order]


def _faiss_index(vectors: NDArray[Any], scales: NDArray[np.float32], inverted_file: InvertedFile) -> Any:
    try:
        import faiss  # noqa: PLC0415 - for large models only
    except ImportError as error:
        raise Unavailable(f"a model of so many specs needs faiss: {how_to_install('serving')}") from error
    dim = vectors.shape[1]
    quantizer = faiss.IndexFlatL2(dim)
    quantizer.add(np.ascontiguousarray(inverted_file.centroids, dtype=np.float32))
    index = faiss.IndexIVFFlat(quantizer, dim, len(inverted_file.centroids), faiss.METRIC_L2)
    index.is_trained = True
    # List by list: one that grows entry by entry takes up to twice its size.
    order = np.argsort(inverted_file.list_of, kind="stable")
    ends = np.cumsum(np.bincount(inverted_file.list_of, minlength=index.nlist))
    lists: Any = index.invlists
    for number, ids in enumerate(np.split(order, ends[:-1])):
        part = np.multiply(vectors[ids], scales, dtype=np.float32)
        codes = part.view(np.uint8).reshape(-1)
        lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    index.ntotal = len(vectors)
    index.nprobe = inverted_file.nprobe
    return index
