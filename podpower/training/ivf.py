"""The inverted file of a large model's search: made once in training, with the recall that was measured."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from podpower.errors import Unavailable
from podpower.extras import how_to_install
from podpower.model.search import InvertedFile, Search, exact_near

RECALL_AT_10 = 0.995  # what nprobe is chosen for
_POINTS_A_CENTROID = 16
_ROUNDS = 4
_SEED = 1
_MEASURED_QUERIES = 400
_FIRST_NPROBE = 8
_PART = 1 << 13  # vectors that are scaled at a time
_FINE = 1.2  # more lists than are needed by no more than this factor


def make_inverted_file(vectors: NDArray[np.float32], scales: NDArray[np.float32]) -> InvertedFile:
    """Return the inverted file of vectors (n, dim) times `scales`, with the nprobe that RECALL_AT_10 takes. Unavailable
    without faiss.
    """
    return make_search(vectors, scales)[0]


def make_search(vectors: NDArray[np.float32], scales: NDArray[np.float32]) -> tuple[InvertedFile, Search]:
    """Return the same inverted file, and the search that uses it."""
    try:
        import faiss  # noqa: PLC0415 - for large models only
    except ImportError as error:
        raise Unavailable(f"training on so many specs needs faiss: {how_to_install('pipeline')}") from error
    count, dim = vectors.shape
    lists = max(1, int(4 * np.sqrt(count)))
    means = faiss.Kmeans(dim, lists, niter=_ROUNDS, seed=_SEED, min_points_per_centroid=1)
    drawn = np.random.default_rng(_SEED).permutation(count)[: _POINTS_A_CENTROID * lists]
    means.train(np.multiply(vectors[np.sort(drawn)], scales, dtype=np.float32))
    quantizer = faiss.IndexFlatL2(dim)
    centroids = np.array(means.centroids, dtype=np.float32)
    quantizer.add(centroids)
    parts = (np.multiply(vectors[i : i + _PART], scales, dtype=np.float32) for i in range(0, count, _PART))
    list_of = np.concatenate([quantizer.search(part, 1)[1][:, 0] for part in parts]).astype(np.int64)
    return _measured(vectors, scales, centroids, list_of)


def _measured(
    vectors: NDArray[np.float32],
    scales: NDArray[np.float32],
    centroids: NDArray[np.float32],
    list_of: NDArray[np.int64],
) -> tuple[InvertedFile, Search]:
    """Return the inverted file with the least nprobe that finds what an exact search finds, and its search; queries are
    entries, which do not count as found.
    """
    queries = vectors[np.linspace(0, len(vectors) - 1, _MEASURED_QUERIES).astype(np.int64)]
    _, exact = exact_near(vectors, scales, queries, 11)
    nprobe = min(_FIRST_NPROBE, len(centroids))
    inverted_file = InvertedFile(centroids=centroids, list_of=list_of, nprobe=nprobe, recall_at_10=0.0)
    search = Search(vectors, scales, inverted_file)

    def recall_of(nprobe: int) -> float:
        search.set_nprobe(nprobe)
        _, squared = search.near(queries, 11)
        # By distance and not by position: equals are as good as one another.
        return float((squared[:, 1:] <= exact[:, 10:] * (1 + 1e-4) + 1e-6).mean())

    too_few, recall = nprobe, recall_of(nprobe)
    while recall < RECALL_AT_10 and nprobe < len(centroids):
        too_few, nprobe = nprobe, min(2 * nprobe, len(centroids))
        recall = recall_of(nprobe)
    while nprobe > _FINE * too_few:
        between = (too_few + nprobe) // 2
        found = recall_of(between)
        if found >= RECALL_AT_10:
            nprobe, recall = between, found
        else:
            too_few = between
    search.set_nprobe(nprobe)
    return replace(inverted_file, nprobe=nprobe, recall_at_10=recall), search
