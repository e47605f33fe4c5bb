"""Measure whether running workloads still look like what the served model was trained on."""

import msgspec
import numpy as np

from podpower.evaluation.results import SplitReport

# More workloads than this share with no evidence at all: the cluster runs other software now.
MOST_UNKNOWN = 0.3
# Fewer labels than this share inside their 80 % interval: workloads draw something else now.
LEAST_COVERED = 0.5
LEAST_WORKLOADS = 5  # fewer decide nothing


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Shares by basis of the `workloads` that ran, of which `known` were seen in training; of these the share of labels
    inside their 80 % interval and the mean absolute log error. None where nothing was measured.
    """

    workloads: int
    known: int = 0
    seen: float | None = None
    similar: float | None = None
    prior: float | None = None
    coverage: float | None = None
    error: float | None = None

    @property
    def specs(self) -> bool:
        """True when specs have drifted away from the model."""
        return self.workloads >= LEAST_WORKLOADS and self.prior is not None and self.prior > MOST_UNKNOWN

    @property
    def errors(self) -> bool:
        """True when errors on known workloads are larger than their intervals allow."""
        return self.workloads >= LEAST_WORKLOADS and self.coverage is not None and self.coverage < LEAST_COVERED


def drift_of(split: SplitReport, *, floor: float) -> Drift:
    """Return the drift of held-out pods; `floor` is added before logarithms."""
    pods = split.pods
    names: dict[tuple[str | None, ...], int] = {}
    of_workload = np.array([names.setdefault(pod.workload[:4], len(names)) for pod in pods], dtype=np.int64)
    if not names:
        return Drift(workloads=0)
    weights = 1.0 / np.bincount(of_workload)[of_workload]  # each workload counts once, however many pods it has
    basis = np.array([pod.basis for pod in pods])
    share = {b: float(np.average(basis == b, weights=weights)) for b in ("seen", "similar", "prior")}
    seen = basis == "seen"
    coverage = error = None
    if seen.any():
        missed = [abs(np.log(pod.predicted + floor) - np.log(pod.measured + floor)) for pod in pods]
        error = float(np.average(np.array(missed)[seen], weights=weights[seen]))
        if all(pod.low is not None for pod in pods):  # those of jobs are None
            inside = [pod.low <= pod.measured <= pod.high for pod in pods]  # type: ignore[operator]
            coverage = float(np.average(np.array(inside)[seen], weights=weights[seen]))
    return Drift(
        workloads=len(names), known=len(set(of_workload[seen].tolist())), coverage=coverage, error=error, **share
    )
