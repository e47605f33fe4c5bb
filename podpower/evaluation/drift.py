"""Whether what runs now still looks like what the served model was trained on."""

import msgspec
import numpy as np

from podpower.datasets.entries import Examples
from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.knn import KnnModel
from podpower.model.scale import to_log

# More workloads than this share with no evidence at all: the cluster runs other software now.
MOST_UNKNOWN = 0.3
# Fewer labels than this share inside their 80 % interval: workloads draw something else now.
LEAST_COVERED = 0.5
_LEAST_WORKLOADS = 5  # fewer tell nothing


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Of `workloads` that ran, the shares by basis, and of the `seen` ones the share of labels inside their 80 %
    interval and the mean absolute log error. None: nothing to tell it by.
    """

    workloads: int
    seen: float | None = None
    similar: float | None = None
    prior: float | None = None
    coverage: float | None = None
    error: float | None = None

    @property
    def specs(self) -> bool:
        """Whether specs have drifted away from the model."""
        return self.workloads >= _LEAST_WORKLOADS and self.prior is not None and self.prior > MOST_UNKNOWN

    @property
    def errors(self) -> bool:
        """Whether errors on known workloads are larger than their intervals say."""
        return self.workloads >= _LEAST_WORKLOADS and self.coverage is not None and self.coverage < LEAST_COVERED


def drift_of(model: KnnModel, pods: Examples) -> Drift:
    """What the model knows of pods with labels that are younger than its own."""
    queries = pods.queries()
    names = {workload: number for number, workload in enumerate(dict.fromkeys(queries.workloads))}
    if not names:
        return Drift(workloads=0)
    estimates = model.predict(queries)
    of_workload = np.array([names[workload] for workload in queries.workloads])
    weights = 1.0 / np.bincount(of_workload)[of_workload]  # each workload counts once, however many pods it has
    share = {b: float(np.average(estimates.basis == b, weights=weights)) for b in ("seen", "similar", "prior")}
    seen = estimates.basis == "seen"
    coverage = error = None
    if seen.any():
        low, high = estimates.interval(DEFAULT_LEVEL)
        inside = (low <= pods.power_w) & (pods.power_w <= high)
        coverage = float(np.average(inside[seen], weights=weights[seen]))
        missed = np.abs(to_log(estimates.power_w) - to_log(pods.power_w))
        error = float(np.average(missed[seen], weights=weights[seen]))
    return Drift(workloads=len(names), coverage=coverage, error=error, **share)
