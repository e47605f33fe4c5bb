"""Cells for the approximate search of a large model: made once in training, with the recall they were measured at."""

import numpy as np
from numpy.typing import NDArray

from podpower.errors import Unavailable
from podpower.model.index import Cells, Search, nearest, squared_distances

RECALL_AT_10 = 0.995  # what the number of cells to look through is chosen for
_POINTS_A_CENTROID = 32
_ROUNDS = 6
_SEED = 1
_MEASURED_QUERIES = 400
_FIRST_PROBES = 8
_FINE = 1.2  # more probes than are needed by no more than this factor


def make_cells(vectors: NDArray[np.float32]) -> Cells:
    """Cells of vectors (n, dim), and how many of them to look through for RECALL_AT_10. Unavailable without faiss."""
    try:
        import faiss  # noqa: PLC0415 - for large models only
    except ImportError as error:
        raise Unavailable("training on so many specs needs faiss: pip install 'podpower[pipeline]'") from error
    count, dim = vectors.shape
    means = faiss.Kmeans(
        dim,
        max(1, int(4 * np.sqrt(count))),
        niter=_ROUNDS,
        seed=_SEED,
        max_points_per_centroid=_POINTS_A_CENTROID,
        min_points_per_centroid=1,
    )
    means.train(np.ascontiguousarray(vectors, dtype=np.float32))
    quantizer = faiss.IndexFlatL2(dim)
    centroids = np.array(means.centroids, dtype=np.float32)
    quantizer.add(centroids)
    step = 100_000
    cell = np.concatenate(
        [quantizer.search(vectors[i : i + step].astype(np.float32), 1)[1][:, 0] for i in range(0, count, step)]
    ).astype(np.int64)
    return _measured(vectors, centroids, cell)


def _measured(vectors: NDArray[np.float32], centroids: NDArray[np.float32], cell: NDArray[np.int64]) -> Cells:
    """As many probes as find what an exact search finds; queries are entries, which do not count as found."""
    queries = np.linspace(0, len(vectors) - 1, _MEASURED_QUERIES).astype(np.int64)
    norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    exact = np.concatenate(
        [
            nearest(squared_distances(vectors[part], vectors, norms), 11)[1]
            for part in np.array_split(queries, max(1, len(queries) * len(vectors) >> 24))
        ]
    )
    probes = min(_FIRST_PROBES, len(centroids))
    search = Search(vectors, Cells(centroids=centroids, cell=cell, probes=probes, recall_at_10=0.0))

    def recall_of(probes: int) -> float:
        search.look_through(probes)
        _, squared = search.near(vectors[queries], 11)
        # By distance and not by position: equals are as good as one another.
        return float((squared[:, 1:] <= exact[:, 10:] * (1 + 1e-4) + 1e-6).mean())

    too_few, recall = probes, recall_of(probes)
    while recall < RECALL_AT_10 and probes < len(centroids):
        too_few, probes = probes, min(2 * probes, len(centroids))
        recall = recall_of(probes)
    while probes > _FINE * too_few:
        between = (too_few + probes) // 2
        found = recall_of(between)
        if found >= RECALL_AT_10:
            probes, recall = between, found
        else:
            too_few = between
    return Cells(centroids=centroids, cell=cell, probes=probes, recall_at_10=recall)
