"""The search for the entries nearest to a vector: exact where there are few, else by an inverted file of faiss.

Results do not depend on the batch: a matrix product only screens, and every distance that is returned comes from the
two vectors alone. Above EXACT_ENTRIES the search is approximate: vectors are assigned to lists around centroids, and
only the `nprobe` nearest lists are scanned (Jegou, Douze and Schmid, "Product quantization for nearest neighbor
search", TPAMI 33(1), 2011). The lists are stored as plain arrays, so that no foreign index format is ever parsed.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from podpower.errors import Unavailable

EXACT_ENTRIES: Final = 10_000  # below, a matrix product answers in a millisecond
_CHUNK_CELLS = 1 << 24  # distances held at a time: 64 MB of float32
_UNSCREENED: Final = 64  # entries; so few are compared one by one
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
            return
        lists, of = inverted_file.centroids, inverted_file.list_of
        if of.shape != (len(vectors),) or lists.shape[1:] != vectors.shape[1:]:
            raise ValueError("the inverted file does not fit the vectors")
        if not 0 <= of.min(initial=0) <= of.max(initial=0) < len(lists) or inverted_file.nprobe < 1:
            raise ValueError("lists of the inverted file are out of range")
        self._index = _faiss_index(vectors, scales, inverted_file)

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

        Ties go to the lower position. Entries of `groups` (n,) equal to the query's of `own_groups` (m,) are left out
        (exact search only). Fewer columns where there are fewer entries; where too few were found, the position is 0
        and the distance infinite.
        """
        count = min(count, self._count)
        near, squared = np.zeros((len(queries), count), dtype=np.int64), np.full((len(queries), count), np.inf)
        if not count:
            return near, squared
        queries = np.multiply(queries, self._scales, dtype=np.float32)
        if self._index is not None:
            for row, query in enumerate(queries):
                found, distance = self._approximate(query, count)
                order = np.argsort(distance, kind="stable")
                near[row, : len(order)], squared[row, : len(order)] = found[order], distance[order]
            return near, squared
        rows = max(1, _CHUNK_CELLS // self._count)
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            allowed = None if groups is None or own_groups is None else groups != own_groups[part, None]
            self._exact_near(queries[part], allowed, near[part], squared[part])
        return near, squared

    def _exact_near(
        self,
        queries: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
        near: NDArray[np.int64],
        squared: NDArray[np.float64],
    ) -> None:
        """Write the nearest of the allowed entries (m, n) into `near` and `squared`, (m, count)."""
        of, found = self._candidates(queries, allowed, near.shape[1])
        distance = self._distances(queries, of, found)
        order = np.lexsort((distance, of))  # stable: of equal distances the lower position comes first
        counts = np.bincount(of, minlength=len(queries))
        place = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < near.shape[1]
        at, order = (of[kept], place[kept]), order[kept]
        near[at], squared[at] = found[order], distance[order]

    def _screened(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared distances (m, n) up to the query's own norm and a rounding error."""
        screened: NDArray[np.float32] = (
            (self._exact @ queries[0])[None] if len(queries) == 1 else queries @ self._exact.T
        )
        screened *= np.float32(-2.0)
        screened += self._norms
        return screened

    def _candidates(
        self, queries: NDArray[np.float32], allowed: NDArray[np.bool_] | None, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs of a query and an entry, ascending, among which the nearest entries are for certain."""
        if self._count <= _UNSCREENED:
            there = np.ones((len(queries), self._count), dtype=bool) if allowed is None else allowed
            return np.nonzero(there)  # type: ignore[return-value]
        screened = self._screened(queries)
        if allowed is not None:
            screened = np.where(allowed, screened, np.float32(np.inf))
        limits = np.partition(screened, count - 1, axis=1)[:, count - 1].astype(np.float64)
        lengths = np.einsum("ij,ij->i", queries, queries).astype(np.float64)
        limits += _SCREEN_ERROR * queries.shape[1] * (lengths + self._longest)
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


def _faiss_index(vectors: NDArray[Any], scales: NDArray[np.float32], inverted_file: InvertedFile) -> Any:
    try:
        import faiss  # noqa: PLC0415 - for large models only
        from faiss.contrib.ivf_tools import add_preassigned  # noqa: PLC0415
    except ImportError as error:
        raise Unavailable("a model of so many specs needs faiss: pip install 'podpower[serving]'") from error
    dim = vectors.shape[1]
    quantizer = faiss.IndexFlatL2(dim)
    quantizer.add(np.ascontiguousarray(inverted_file.centroids, dtype=np.float32))
    index = faiss.IndexIVFFlat(quantizer, dim, len(inverted_file.centroids), faiss.METRIC_L2)
    index.is_trained = True
    step = 100_000
    for start in range(0, len(vectors), step):
        part = np.multiply(vectors[start : start + step], scales, dtype=np.float32)
        ids = np.arange(start, start + len(part), dtype=np.int64)
        lists = np.ascontiguousarray(inverted_file.list_of[start : start + step])
        add_preassigned(index, part, lists, ids)  # type: ignore[no-untyped-call]
    index.nprobe = inverted_file.nprobe
    return index
