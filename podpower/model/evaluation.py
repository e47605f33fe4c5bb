"""How good a model of these rows is: on workloads it has not seen, and on the future of those it has.

Two splits, and never one by row, which puts steps of one pod on both sides. Everything that is chosen (kernel,
threshold, interval) is chosen again in each fold, on the fold's training side.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from podpower.errors import InvalidInput
from podpower.model.baselines import BASELINES
from podpower.model.examples import Examples, examples_from_rows, known_rows, pods_from_rows
from podpower.model.intervals import BASES
from podpower.model.neighbours import FLOOR_W, KnnModel, to_log
from podpower.model.training import train_examples

MODEL = "podpower"
UNSEEN, FORWARD = "unseen workloads", "time forward"
MAX_LEFT_OUT = 60  # up to so many groups each is left out on its own; beyond, FOLDS folds of groups
FOLDS = 10


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Errors over `count` pods. None where undefined (one pod, no variance, all labels zero, no interval).

    `mae` in the report's unit; `wape` the sum of absolute errors over the sum of labels; `mdape` the median of
    relative errors of the labels above zero; `log_r2` R2 of log(1 + joules a minute) (jobs: of log(1 + joules));
    `coverage` the share of labels inside their interval, `interval_factor` the median of its high over its low.
    """

    count: int
    mae: float | None = None
    wape: float | None = None
    mdape: float | None = None
    r2: float | None = None
    log_r2: float | None = None
    rank_correlation: float | None = None
    coverage: float | None = None
    interval_factor: float | None = None


class PodResult(msgspec.Struct, frozen=True, kw_only=True):
    """One held-out pod: its mean label and what was predicted for it, in the report's unit."""

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


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """One split: scores by predictor ("podpower" and the baselines), by basis, and every held-out pod."""

    name: str
    folds: int
    nominal_coverage: float
    scores: dict[str, Score]
    by_basis: dict[str, Score]
    pods: list[PodResult]


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """All splits for one target. `notes` say what could not be evaluated and why."""

    target: str
    unit: str
    step_seconds: float
    splits: list[SplitReport]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def evaluate(rows: pl.DataFrame, *, target: str = "energy_step_j", neighbors: int | None = None) -> EvaluationReport:
    """Evaluate training on `train_rows` (docs/data-contracts.md) by both splits, one number a pod.

    InvalidInput as `podpower.model.training.train`. What a split needs and lacks is told in `notes`.
    """
    rows = known_rows(rows, target=target)
    pods = pods_from_rows(rows, target=target)
    train_examples(
        examples_from_rows(rows, target=target), target=target, neighbors=neighbors
    )  # raises what train does
    splits, notes = [], []
    for split in (_unseen, _forward):
        held_out, folds = _HeldOut(target), 0
        try:
            for training, testing in split(rows, pods, target):
                held_out.predict(training, testing, neighbors)
                folds += 1
        except InvalidInput as error:
            notes.append(f"{_NAMES[split]}: {error}")
            continue
        splits.append(held_out.report(_NAMES[split], folds))
    unit = {"energy_step_j": "J", "avg_power_w": "W", "total_energy_j": "J"}[target]
    return EvaluationReport(target=target, unit=unit, step_seconds=pods.step_seconds, splits=splits, notes=notes)


def _unseen(rows: pl.DataFrame, pods: Examples, target: str) -> Iterator[tuple[Examples, Examples]]:
    """Leave out each workload (or, of many, a fold of them), with all that share a spec with it."""
    examples = examples_from_rows(rows, target=target)
    linked = linked_groups([*examples.workloads, *pods.workloads], [*examples.spec_hashes, *pods.spec_hashes])
    groups, pod_groups = linked[: len(examples)], linked[len(examples) :]
    count = len(set(groups.tolist()))
    if count < 2:
        raise InvalidInput("there is one workload only, hence none to leave out")
    splitter = LeaveOneGroupOut() if count <= MAX_LEFT_OUT else GroupKFold(FOLDS)
    for _, testing in splitter.split(groups, groups=groups):
        left_out = np.unique(groups[testing])
        yield examples.take(~np.isin(groups, left_out)), pods.take(np.isin(pod_groups, left_out))


def _forward(rows: pl.DataFrame, pods: Examples, target: str) -> Iterator[tuple[Examples, Examples]]:
    """Fit on the first half of the time range, predict each pod's mean in the second."""
    del pods
    first, last = rows["ts"].min(), rows["ts"].max()
    middle = (first + last) / 2  # type: ignore[operator]
    past, future = rows.filter(pl.col("ts") <= middle), rows.filter(pl.col("ts") > middle)
    if future.is_empty():
        raise InvalidInput("all labels have one time, hence no future")
    yield examples_from_rows(past, target=target), pods_from_rows(future, target=target)


_NAMES = {_unseen: UNSEEN, _forward: FORWARD}


def linked_groups(workloads: Sequence[Hashable], spec_hashes: Sequence[str]) -> NDArray[np.int64]:
    """A number for each item such that items of one workload, or of one spec, or linked through others, share it."""
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


class _HeldOut:
    """Gathers predictions of held-out pods over the folds of a split."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._pods: list[PodResult] = []
        self._baselines: dict[str, list[float]] = {name: [] for name in BASELINES}
        self._level = 0.0
        self._floor = 1.0

    def predict(self, training: Examples, testing: Examples, neighbors: int | None) -> None:
        model = train_examples(training, target=self._target, neighbors=neighbors)
        estimates = model.predict(testing.vectors, testing.spec_hashes, testing.workloads)
        total = self._target == "total_energy_j"
        scale = testing.step_seconds if self._target == "energy_step_j" else 1.0
        self._level = model.intervals.level
        self._floor = 1.0 if total else FLOOR_W * scale
        predicted = estimates.total_energy_j if total else estimates.power_w * scale
        measured = testing.total_energy_j if total else testing.power_w * scale
        for i, workload in enumerate(testing.workloads):
            self._pods.append(
                PodResult(
                    namespace=workload[0],
                    workload_kind=workload[1],
                    workload_name=workload[2],
                    pod=testing.pods[i],
                    image_key=testing.image_keys[i],
                    basis=estimates.basis[i],
                    measured=float(measured[i]),
                    predicted=float(predicted[i]),
                    low=None if total else float(estimates.low_w[i] * scale),
                    high=None if total else float(estimates.high_w[i] * scale),
                )
            )
        for name, values in _baseline_values(model, testing, total=total).items():
            self._baselines[name] += (values * (1.0 if total else scale)).tolist()

    def report(self, name: str, folds: int) -> SplitReport:
        measured = np.array([pod.measured for pod in self._pods])
        predicted = np.array([pod.predicted for pod in self._pods])
        low = np.array([np.nan if pod.low is None else pod.low for pod in self._pods])
        high = np.array([np.nan if pod.high is None else pod.high for pod in self._pods])
        basis = np.array([pod.basis for pod in self._pods])
        scores = {MODEL: _score(measured, predicted, self._floor, low, high)}
        scores |= {b: _score(measured, np.array(values), self._floor) for b, values in self._baselines.items()}
        return SplitReport(
            name=name,
            folds=folds,
            nominal_coverage=self._level,
            scores=scores,
            by_basis={
                b: _score(measured[at], predicted[at], self._floor, low[at], high[at])
                for b in BASES
                if (at := basis == b).any()
            },
            pods=self._pods,
        )


def _baseline_values(model: KnnModel, testing: Examples, *, total: bool) -> dict[str, NDArray[np.float64]]:
    """Watts, or joules of a job, by each baseline fitted on the model's own index."""
    index = model.index
    if total:
        jobs = np.flatnonzero(~np.isnan(index.total_energy_j))
        index = index.take(jobs)
        logs, floor = np.log1p(index.total_energy_j), 1.0
    else:
        logs, floor = to_log(index.power_w), FLOOR_W
    return {
        name: np.maximum(np.exp(baseline(index, logs, testing.vectors, testing.image_keys)) - floor, 0.0)
        for name, baseline in BASELINES.items()
    }


def _score(
    measured: NDArray[np.float64],
    predicted: NDArray[np.float64],
    floor: float,
    low: NDArray[np.float64] | None = None,
    high: NDArray[np.float64] | None = None,
) -> Score:
    known = ~np.isnan(predicted)
    measured, predicted = measured[known], predicted[known]
    if not len(measured):
        return Score(count=0)
    positive = measured > 0
    varied = len(measured) > 1 and np.ptp(measured) > 0
    coverage = factor = None
    if low is not None and high is not None and not np.isnan(low).any():
        low, high = low[known], high[known]
        coverage = float(((low <= measured) & (measured <= high)).mean())
        factor = float(np.median((high + floor) / (low + floor)))
    error = np.abs(predicted - measured)
    return Score(
        count=len(measured),
        mae=float(mean_absolute_error(measured, predicted)),
        wape=float(error.sum() / measured.sum()) if positive.any() else None,
        mdape=float(np.median(error[positive] / measured[positive])) if positive.any() else None,
        r2=float(r2_score(measured, predicted)) if varied else None,
        log_r2=float(r2_score(np.log(measured + floor), np.log(predicted + floor))) if varied else None,
        rank_correlation=_rank_correlation(measured, predicted) if varied and np.ptp(predicted) > 0 else None,
        coverage=coverage,
        interval_factor=factor,
    )


def _rank_correlation(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(pl.select(pl.corr(pl.Series(measured), pl.Series(predicted), method="spearman")).item())
