"""The basis of a prediction: decides whether it is `seen`, `similar` or `prior`.

- `seen`: the same spec has labels, in this workload or in another one or cluster.
- `similar`: a former spec of the workload has labels, or neighbours are near enough: no more remote than left-out
  entries that they predicted better than the prior did (`similar_within`, chosen by `podpower.training.leave_out`).
- `prior`: no neighbour is near enough.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podpower.model.intervals import SOURCES

_SEEN, _SIMILAR, _PRIOR, _REVISED, _ELSEWHERE = (
    SOURCES.index(source) for source in ("seen", "similar", "prior", "revised", "elsewhere")
)
_NAMES = np.array(SOURCES, dtype=object)


class Bases(NamedTuple):
    """The basis of each of m predictions, and the `source` (position in SOURCES) of the residuals of its interval."""

    basis: NDArray[np.object_]
    source: NDArray[np.int64]

    def mark_measured(self, row: int) -> None:
        """Mark the prediction of a workload that has labels of this very spec."""
        self.basis[row], self.source[row] = "seen", _SEEN


def decide_bases(
    remote: NDArray[np.float64], *, similar_within: float, revised: Collection[int], elsewhere: Collection[int]
) -> Bases:
    """Return the bases of predictions by their remoteness (m,) from the entries.

    `revised` are the rows whose workload has labels of a former spec, `elsewhere` those whose spec has labels in
    another workload or cluster.
    """
    source = np.where(remote <= similar_within, _SIMILAR, _PRIOR)
    basis = _NAMES.take(source)
    for rows, name, code in ((elsewhere, "seen", _ELSEWHERE), (revised, "similar", _REVISED)):
        for row in rows:
            source[row] = code
            if basis[row] != "seen":
                basis[row] = name
    return Bases(basis=basis, source=source)
