"""Evaluate training on held-out workloads, forward in time, and across clusters.

Every choice of training (metric, pseudo-counts, half-life, intervals) is made again in each fold, on its training side.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, Examples
from podpower.datasets.training_set import Rows, TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.baselines import BASELINES, NUMERIC_WIDTH, Known
from podpower.evaluation.names import STEPWISE, UNSEEN
from podpower.evaluation.results import MODEL, PodResult, SplitReport
from podpower.evaluation.scores import Score, score
from podpower.evaluation.splits import SPLITS
from podpower.evaluation.verdict import Verdict, verdict_of
from podpower.model.intervals import BASES, DEFAULT_LEVEL
from podpower.model.knn import KnnModel
from podpower.model.scale import FLOOR_W, to_log
from podpower.training.train import check_trainable, train_examples

UNITS = {"energy_step_j": "J", "avg_power_w": "W", "total_energy_j": "J"}
BLOCKS = ("numeric", "category", "text", "second text")  # as `podpower.features.encoder` orders them


HeldOutPart = tuple[KnnModel, Examples, float | None]


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """All splits for one target. `notes` have the reasons of splits that are missing; `row_count` labels of `workloads`
    were read, from `first_s` to `last_s`.
    """

    target: str
    unit: str
    step_seconds: float
    splits: list[SplitReport]
    notes: list[str]
    row_count: int = 0
    workloads: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def split(self, name: str) -> SplitReport | None:
        """Return the split of this name; None where the rows lack what it needs."""
        return next((split for split in self.splits if split.name == name), None)

    @property
    def verdicts(self) -> list[Verdict]:
        """Verdict on each split."""
        return [verdict_of(split) for split in self.splits]

    @property
    def alarms(self) -> list[str]:
        """Alarms of all splits: biased sums, and intervals that cover too many or too few labels."""
        return [alarm for verdict in self.verdicts for alarm in verdict.alarms]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, for JSON; `verdicts` first."""
        plain: dict[str, Any] = {"verdicts": msgspec.to_builtins(self.verdicts), **msgspec.to_builtins(self)}
        return plain


def evaluate(
    rows: Rows,
    *,
    target: str | None = None,
    neighbors: int | None = None,
    splits: Iterable[str] = tuple(SPLITS),
    ablation: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> EvaluationReport:
    """Evaluate training on `train_rows` (docs/reference/file-formats.md) by `splits`, one number a pod.

    `ablation` also leaves out each block of features in turn; `progress` is called with the split, the folds that are
    done, and all folds. InvalidInput as `podpower.training.train.train`. A split that lacks data is left out; `notes`
    have the reason.
    """
    training_set = TrainingSet.of(rows, target=target)
    target = training_set.target
    check_trainable(training_set.power_w, neighbors=neighbors)
    reports, notes = [], []
    for name in splits:
        held_out = _HeldOut(target)
        without = {block: _HeldOut(target) for block in _ablated(training_set.blocks, name, wanted=ablation)}
        try:
            for fold in SPLITS[name](training_set):
                progress(name, held_out.folds, fold.of)
                model = train_examples(fold.training, target=target, neighbors=neighbors)
                held_out.predict(model, fold.pods, at_s=fold.at_s, of=fold.of)
                for block, ablated in without.items():
                    left = frozenset(n for n, b in enumerate(BLOCKS) if b == block)
                    model = train_examples(fold.training, target=target, neighbors=neighbors, without=left)
                    ablated.predict(model, fold.pods)
                del fold, model  # each as large as all that is known: not two of them at a time
        except InvalidInput as error:
            notes.append(f"{name}: {error}")
            continue
        reports.append(held_out.report(name, {block: ablated.score() for block, ablated in without.items()}))
    first_s, last_s = training_set.range_s
    return EvaluationReport(
        target=target,
        unit=UNITS[target],
        step_seconds=training_set.step_seconds,
        splits=reports,
        notes=notes,
        row_count=len(training_set),
        workloads=training_set.workloads,
        first_s=first_s,
        last_s=last_s,
    )


def floor_of(target: str, *, step_seconds: float) -> float:
    """Return what is added to values of a target before logarithms: one joule in a minute, one joule of a job."""
    if target == "total_energy_j":
        return 1.0
    return FLOOR_W * (step_seconds if target == "energy_step_j" else 1.0)


def evaluate_models(parts: Iterable[HeldOutPart], *, target: str, name: str) -> SplitReport | None:
    """Return one split of several trained models of one target, each with the pods that are held out of it and the
    time from which it predicts them; None without any part. One model is held at a time.
    """
    held_out = _HeldOut(target)
    for model, pods, at_s in parts:
        held_out.predict(model, pods, at_s=at_s, of=held_out.folds + 1)
    return held_out.report(name, {}) if held_out.folds else None


def _ablated(blocks: tuple[int, ...], split: str, *, wanted: bool) -> list[str]:
    return (
        [BLOCKS[n] for n, width in enumerate(blocks) if width] if wanted and split == UNSEEN and len(blocks) > 1 else []
    )


class _HeldOut:
    """Predictions of held-out pods, gathered over the folds of a split."""

    def __init__(self, target: str) -> None:
        self.folds, self._of = 0, 1
        self._target = target
        self._pods: list[PodResult] = []
        self._baselines: dict[str, list[float]] = {name: [] for name in BASELINES}
        self._levels: tuple[float, ...] = ()
        self._floor = 1.0
        self._residuals: list[int] = []

    def predict(self, model: KnnModel, pods: Examples, *, at_s: float | None = None, of: int = 1) -> None:
        self.folds, self._of = self.folds + 1, of
        self._residuals.append(int(model.metrics.get("left_out_entries") or 0))
        queries = pods.queries()
        estimates = model.predict(queries)
        total = self._target == "total_energy_j"
        scale = pods.step_seconds if self._target == "energy_step_j" else 1.0
        self._levels = () if total else estimates.levels
        self._floor = floor_of(self._target, step_seconds=pods.step_seconds)
        predicted = estimates.total_energy_j if total else estimates.power_w * scale
        measured = pods.total_energy_j if total else pods.power_w * scale
        expected = predicted if total else estimates.expected_power_w * scale
        low, high = estimates.interval()
        for i, (entry, workload) in enumerate(zip(pods.entry, queries.workloads, strict=True)):
            ends = zip(estimates.low_w[:, i] * scale, estimates.high_w[:, i] * scale, strict=True)
            self._pods.append(
                PodResult(
                    namespace=workload[0],
                    workload_kind=workload[1],
                    workload_name=workload[2],
                    cluster=pods.entries.clusters[entry] or None,
                    pod=pods.pods[i],
                    image_key=pods.entries.image_keys[entry] or None,
                    basis=estimates.basis[i],
                    measured=float(measured[i]),
                    predicted=float(predicted[i]),
                    low=None if total else float(low[i] * scale),
                    high=None if total else float(high[i] * scale),
                    bounds=[] if total else [(float(a), float(b)) for a, b in ends],
                    expected=float(expected[i]),
                    at_s=at_s,
                )
            )
        for name, values in _baseline_values(model, queries, total=total).items():
            self._baselines[name] += (values * (1.0 if total else scale)).tolist()

    def score(self, at: NDArray[np.bool_] | None = None) -> Score:
        """Return podpower's score over the pods at these positions; over all where None."""
        chosen = self._pods if at is None else [pod for pod, here in zip(self._pods, at, strict=True) if here]
        workloads = [pod.workload for pod in chosen]
        pods = Counter(workloads)
        weights = np.array([1.0 / pods[workload] for workload in workloads])
        expected = np.array([pod.predicted if pod.expected is None else pod.expected for pod in chosen])
        return score(*_columns(chosen), self._floor, _bounds(chosen, self._levels), weights, expected=expected)

    def report(self, name: str, ablation: dict[str, Score]) -> SplitReport:
        measured, _ = _columns(self._pods)
        scores = {MODEL: self.score()}
        scores |= {b: score(measured, np.array(values), self._floor) for b, values in self._baselines.items()}

        def by(key: Callable[[PodResult], str], order: Iterable[str] | None = None) -> dict[str, Score]:
            keys = np.array([key(pod) for pod in self._pods], dtype=object)
            return {k: self.score(keys == k) for k in (order or sorted(set(keys))) if (keys == k).any()}

        return SplitReport(
            name=name,
            folds=self.folds,
            folds_in_all=self._of,
            nominal_coverage=DEFAULT_LEVEL,
            levels=list(self._levels),
            scores=scores,
            by_basis=by(lambda pod: pod.basis, BASES),
            by_kind=by(lambda pod: pod.workload_kind),
            by_namespace=by(lambda pod: pod.namespace),
            by_time=by(lambda pod: f"{pod.at_s:.0f}") if self.folds > 1 and name == STEPWISE else {},
            ablation=ablation,
            pods=self._pods,
            residuals=min(self._residuals, default=0) if name == UNSEEN else 0,
            baselines={b: [None if np.isnan(v) else v for v in values] for b, values in self._baselines.items()},
        )


def _columns(pods: list[PodResult]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([pod.measured for pod in pods]), np.array([pod.predicted for pod in pods])


def _bounds(
    pods: list[PodResult], levels: tuple[float, ...]
) -> dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    ends = np.array([pod.bounds for pod in pods], dtype=float).reshape(len(pods), len(levels), 2)
    return {level: (ends[:, place, 0], ends[:, place, 1]) for place, level in enumerate(levels)}


def _baseline_values(model: KnnModel, queries: Entries, *, total: bool) -> Mapping[str, NDArray[np.float64]]:
    """Return watts, or joules of a job, of each baseline fitted on the model's own index."""
    index = model.index
    at = np.flatnonzero(~np.isnan(index.total_energy_j)) if total else np.arange(len(index))
    logs, floor = (np.log1p(index.total_energy_j[at]), 1.0) if total else (to_log(index.power_w), FLOOR_W)
    known = Known(
        numbers=index.vectors[at, :NUMERIC_WIDTH], image_keys=[index.image_keys[i] for i in at.tolist()], logs=logs
    )
    return {name: np.maximum(np.exp(predict(known, queries)) - floor, 0.0) for name, predict in BASELINES.items()}
