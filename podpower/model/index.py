"""The entries that a model knows, and the search for those near a request: exact where there are few, else by faiss.

Above EXACT_ENTRIES the search is approximate: vectors lie in cells around centroids, and only the nearest cells are
looked through (an inverted file, Jegou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI
33(1), 2011). Cells are stored as plain arrays, so that no foreign index format is ever parsed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from podpower.errors import Unavailable
from podpower.model.lookup import Strings

EXACT_ENTRIES: Final = 10_000  # below, a matrix product answers in a millisecond
_CHUNK_CELLS = 1 << 24  # distances held at a time: 64 MB of float32
_ARRAYS = ("vectors", "power_w", "total_energy_j", "seconds", "share", "spread")
_TEXTS = ("spec_hashes", "clusters", "namespaces", "kinds", "names", "image_keys")

Workload = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Index:
    """The n known entries, one for each (cluster, workload, spec): vectors (n, dim) in the model's metric, mean watts,
    mean joules of a job (NaN: not one), known seconds, `share`, one over the number of entries of the workload, so that
    a workload with many revisions counts once, and `spread`, how far (in log) hours of the entry lie from one another.
    An empty image key or cluster is unknown.
    """

    vectors: NDArray[Any]
    spec_hashes: Sequence[str]
    clusters: Sequence[str]
    namespaces: Sequence[str]
    kinds: Sequence[str]
    names: Sequence[str]
    image_keys: Sequence[str]
    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    share: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.power_w)

    def workload(self, entry: int) -> Workload:
        """Namespace, kind and name of an entry."""
        return self.namespaces[entry], self.kinds[entry], self.names[entry]

    def take(self, positions: NDArray[np.int64]) -> "Index":
        """The entries at `positions`, in that order."""
        texts: dict[str, Any] = {name: [getattr(self, name)[int(i)] for i in positions] for name in _TEXTS}
        return Index(**{name: getattr(self, name)[positions] for name in _ARRAYS}, **texts)

    @property
    def workloads(self) -> list[Workload]:
        """Those of all entries."""
        return list(zip(self.namespaces, self.kinds, self.names, strict=True))

    def state(self) -> dict[str, Any]:
        """Numeric arrays only."""
        texts = {name: Strings.of(getattr(self, name)).state() for name in _TEXTS}
        return {name: getattr(self, name) for name in _ARRAYS} | texts

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Index":
        """The index that gave `state`. ValueError when its columns do not fit together."""
        texts = {name: Strings.from_state(state[name]) for name in _TEXTS}
        arrays: dict[str, Any] = {name: state[name] for name in _ARRAYS}
        if set(state) != {*_ARRAYS, *_TEXTS} or len({len(c) for c in (*texts.values(), *arrays.values())}) != 1:
            raise ValueError("columns of the index differ in length")
        if arrays["vectors"].ndim != 2 or any(arrays[name].ndim != 1 for name in _ARRAYS[1:]):
            raise ValueError("columns of the index have a wrong shape")
        if not all(np.isfinite(arrays[name]).all() for name in ("vectors", "power_w", "seconds", "share", "spread")):
            raise ValueError("the index holds numbers that are not finite")
        return cls(**(arrays | texts))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Where an approximate search looks: `centroids` (c, dim), the cell of each entry (n,), how many cells to look
    through, and the share of true neighbours among the ten nearest that this was measured to find.
    """

    centroids: NDArray[np.float32]
    cell: NDArray[np.int64]
    probes: int
    recall_at_10: float

    def state(self) -> dict[str, Any]:
        """Arrays and numbers."""
        return {name: getattr(self, name) for name in ("centroids", "cell", "probes", "recall_at_10")}


class Search:
    """The entries nearest to a vector. Threads may share it."""

    def __init__(self, vectors: NDArray[Any], cells: Cells | None = None) -> None:
        """ValueError when the cells are not those of `vectors`; Unavailable without faiss where cells are given."""
        self._vectors = vectors
        self._cells = cells
        if cells is None:
            self._exact = np.ascontiguousarray(vectors, dtype=np.float32)
            self._norms = np.einsum("ij,ij->i", self._exact, self._exact, dtype=np.float64)
            return
        if cells.cell.shape != (len(vectors),) or cells.centroids.shape[1:] != vectors.shape[1:]:
            raise ValueError("cells do not fit the vectors")
        if not 0 <= cells.cell.min(initial=0) <= cells.cell.max(initial=0) < len(cells.centroids) or cells.probes < 1:
            raise ValueError("cells are out of range")
        self._inverted = _inverted_file(vectors, cells)

    def look_through(self, probes: int) -> None:
        """Look through so many cells from now on."""
        self._inverted.nprobe = probes

    def near(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Positions and squared distances of the `count` nearest entries of each query, (m, count), nearest first.

        Fewer columns where there are fewer entries; position -1, infinitely far, where an approximate search found
        none.
        """
        count = min(count, len(self._vectors))
        if self._cells is None:
            rows = max(1, _CHUNK_CELLS // max(1, len(self._vectors)))
            parts = [
                nearest(squared_distances(queries[i : i + rows], self._exact, self._norms), count)
                for i in range(0, max(1, len(queries)), rows)
            ]
            return np.concatenate([p for p, _ in parts]), np.concatenate([s for _, s in parts])
        squared, near = self._inverted.search(np.ascontiguousarray(queries, dtype=np.float32), count)
        # Ties go to the lower position, so that the order is the same everywhere.
        squared = np.where(near < 0, np.inf, np.maximum(squared, 0.0).astype(np.float64))
        order = np.lexsort((near, squared), axis=1)
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(squared, order, axis=1)


def _inverted_file(vectors: NDArray[Any], cells: Cells) -> Any:
    try:
        import faiss  # noqa: PLC0415 - for large models only
        from faiss.contrib.ivf_tools import add_preassigned  # noqa: PLC0415
    except ImportError as error:
        raise Unavailable("a model of so many specs needs faiss: pip install 'podpower[serving]'") from error
    dim = vectors.shape[1]
    quantizer = faiss.IndexFlatL2(dim)
    quantizer.add(np.ascontiguousarray(cells.centroids, dtype=np.float32))
    index = faiss.IndexIVFFlat(quantizer, dim, len(cells.centroids), faiss.METRIC_L2)
    index.is_trained = True
    step = 100_000
    for start in range(0, len(vectors), step):
        part = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
        ids = np.arange(start, start + len(part), dtype=np.int64)
        add_preassigned(index, part, np.ascontiguousarray(cells.cell[start : start + step]), ids)  # type: ignore[no-untyped-call]
    index.nprobe = cells.probes
    return index


def nearest(squared: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of squared distances (m, n) the positions and values of each row's `count` least, (m, count), nearest first.

    Ties go to the lower position, so that order is the same everywhere.
    """
    count = min(count, squared.shape[1])
    if count < squared.shape[1]:
        near = np.argpartition(squared, count - 1, axis=1)[:, :count]
        near.sort(axis=1)
    else:
        near = np.broadcast_to(np.arange(count), squared.shape)
    found = np.take_along_axis(squared, near, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(found, order, axis=1)


def squared_distances(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared Euclidean distances (m, n) by one matrix product, never negative."""
    own = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    squared: NDArray[np.float64] = own[:, None] + norms[None, :] - 2.0 * (queries @ vectors.T)
    np.maximum(squared, 0.0, out=squared)
    return squared
