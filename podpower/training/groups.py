"""Groups of items that are held out together, so that none is known when another is predicted."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def linked_groups(workloads: Sequence[Hashable], spec_hashes: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each item such that items of one workload, or of one spec, or linked through others, share
    it.
    """
    parents: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for workload, spec_hash in zip(workloads, spec_hashes, strict=True):
        parents[root(("spec", spec_hash))] = root(("workload", workload))
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(root(("workload", w)), len(numbers)) for w in workloads], dtype=np.int64)
