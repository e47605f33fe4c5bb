"""Results of an evaluation: each held-out pod, and the scores of each split."""

import msgspec

from podpower.evaluation.scores import Score

MODEL = "podpower"  # among the predictors of a split, beside the baselines


class PodResult(msgspec.Struct, frozen=True, kw_only=True):
    """One held-out pod: its mean label and what was predicted for it, in the report's unit. `low` and `high` are the
    ends of the 80 % interval, `bounds` those of all levels; `expected` is the mean that sums are made of; `at_s` is
    when the predicted time begins.
    """

    namespace: str
    workload_kind: str
    workload_name: str
    pod: str | None
    image_key: str | None
    basis: str
    measured: float
    predicted: float
    low: float | None
    high: float | None
    cluster: str | None = None
    bounds: list[tuple[float, float]] = []
    expected: float | None = None
    at_s: float | None = None

    @property
    def workload(self) -> tuple[str | None, str, str, str, float | None]:
        """Cluster, namespace, kind and name, and the time of the prediction: coverage counts each once."""
        return self.cluster, self.namespace, self.workload_kind, self.workload_name, self.at_s


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """One split: scores by predictor ("podpower" and the baselines) and, for podpower, by basis, kind, namespace and
    time; what it is without each block of features (only where requested); and every held-out pod, with what each of
    the `baselines` predicts for it. `folds` were done of `folds_in_all`. `residuals` of left-out entries are behind the
    intervals, in the fold that has the fewest; 0 where these are not of unseen workloads.
    """

    name: str
    folds: int
    folds_in_all: int
    nominal_coverage: float
    scores: dict[str, Score]
    by_basis: dict[str, Score]
    pods: list[PodResult]
    levels: list[float] = []
    by_kind: dict[str, Score] = {}
    by_namespace: dict[str, Score] = {}
    by_time: dict[str, Score] = {}
    ablation: dict[str, Score] = {}
    baselines: dict[str, list[float | None]] = {}
    residuals: int = 0

    @property
    def own(self) -> Score:
        """Score of the model itself."""
        return self.scores[MODEL]

    @property
    def workloads(self) -> int:
        """Number of held-out workloads; one that is predicted at several times counts once: its errors are alike."""
        return len({pod.workload[:4] for pod in self.pods})

    @property
    def extent(self) -> str:
        """Number of folds, in words."""
        folds = f"{self.folds} fold{'' if self.folds == 1 else 's'}"
        return folds if self.folds == self.folds_in_all else f"{self.folds} of {self.folds_in_all} folds"
