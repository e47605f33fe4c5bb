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
        rows = max(1, _CHUNK_CELLS // self._count)
        for start in range(0, len(queries), rows):
            part = queries[start : start + rows]
            screened = None if self._count <= _UNSCREENED or self._index is not None else self._screened(part)
            for row, query in enumerate(part, start):
                if self._index is not None:
                    found, distance = self._approximate(query, count)
                else:
                    allowed = None if groups is None or own_groups is None else groups != own_groups[row]
                    approximate = None if screened is None else screened[row - start]
                    found = self._candidates(query, approximate, count, allowed)
                    distance = self._distances(query, found)
                order = np.argsort(distance, kind="stable")[:count]
                near[row, : len(order)], squared[row, : len(order)] = found[order], distance[order]
        return near, squared

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
        query: NDArray[np.float32],
        screened: NDArray[np.float32] | None,
        count: int,
        allowed: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Positions, ascending, among which the nearest are for certain."""
        if screened is None:
            return np.arange(self._count) if allowed is None else np.flatnonzero(allowed)
        if allowed is not None:
            screened = np.where(allowed, screened, np.float32(np.inf))
        limit = float(np.partition(screened, count - 1)[count - 1])
        margin = _SCREEN_ERROR * len(query) * (float(query @ query) + self._longest)
        found = np.flatnonzero(screened <= limit + margin)
        return found if allowed is None else found[allowed[found]]

    def _distances(self, query: NDArray[np.float32], at: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return squared distances, each from its two vectors alone."""
        differences = self._exact[at] - query
        np.multiply(differences, differences, out=differences)
        squared: NDArray[np.float64] = differences.sum(axis=1).astype(np.float64)
        return squared

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
