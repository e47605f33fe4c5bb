"""Groups of items that are held out together, so that none is known when another is predicted."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from podpower.model.estimator import numbered


def linked_groups(workloads: Sequence[Hashable], spec_hashes: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each item such that items of one workload, or of one spec, or linked through others, share
    it.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415  # slow to import; most runs train nothing
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    of_workload, of_spec = numbered(workloads), numbered(spec_hashes)
    if not len(of_workload):
        return of_workload
    of_spec += of_workload.max() + 1
    count = int(of_spec.max()) + 1
    links = coo_array((np.ones(len(of_spec), dtype=np.int8), (of_workload, of_spec)), shape=(count, count))
    _, component = connected_components(links, directed=False)
    return numbered(component[of_workload].tolist())
