"""Check of encoded specs."""

import numpy as np
from numpy.typing import NDArray

from podpower.checks import CheckResult

VECTORS_ARE_FINITE = "vectors_are_finite"


def count_not_finite(vectors: NDArray[np.float32]) -> int:
    """Return how many vectors contain a value that is no finite number."""
    return int((~np.isfinite(vectors)).any(axis=1).sum())


def vectors_are_finite(*, vectors: int, not_finite: int) -> CheckResult:
    """Check that every value of every vector is a finite number."""
    values = {"vectors": vectors, "not_finite": not_finite}
    return CheckResult(name=VECTORS_ARE_FINITE, passed=not_finite == 0, values=values)
