"""Splits: workloads, times or clusters are held out, never rows, which would put steps of one pod on both sides.

A split yields folds, pairs of training data and held-out pods; InvalidInput where the rows lack what it needs.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.datasets.entries import Examples
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.names import FORWARD, STEPWISE, TRANSFER, UNSEEN
from podpower.training.groups import linked_groups

MAX_LEFT_OUT = 60  # up to so many groups each is left out on its own; beyond, FOLDS folds of groups or more
FOLDS = 10
ENOUGH_PODS = 10_000  # figures of so many move by less than a hundredth: the remaining folds are not trained
MAX_STEPS = 8  # of the time range
_LEAST_STEP_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Train on the `kept` of the examples of a training set (None: all), predict each of the pods; `at_s` is when the
    predicted time begins (None: the same time), `of` how many folds there are of the kind.
    """

    training_set: TrainingSet
    pods: Examples
    kept: NDArray[np.bool_] | None = None
    at_s: float | None = None
    of: int = 1

    @property
    def training(self) -> Examples:
        """The examples to train on, made at each call: they are as large as all that is known, and needed only once."""
        examples = self.training_set.examples()
        return examples if self.kept is None else examples.take(self.kept)


def unseen(training_set: TrainingSet) -> Iterator[Fold]:
    """Leave out each workload (or, of many, a fold of them), with all that share a spec with it, until ENOUGH_PODS
    were left out.
    """
    examples, pods = training_set.examples(), training_set.pods()
    groups = linked_groups(examples.entries.workloads, examples.entries.spec_hashes)  # those of the pods, too
    count = int(groups.max()) + 1
    if count < 2:
        raise InvalidInput("there is one workload only, hence none to leave out")
    folds = count if count <= MAX_LEFT_OUT else max(FOLDS, min(count, len(pods) // ENOUGH_PODS))
    fold_of, left_out = groups if folds == count else _folds(groups, folds), 0
    of_example = examples.entry
    del examples  # each fold makes its own: not two sets of them while a model is trained
    for fold in range(folds):
        if left_out >= ENOUGH_PODS:
            break
        held = fold_of == fold
        of_pods = held[pods.entry]
        left_out += int(of_pods.sum())
        yield Fold(training_set=training_set, kept=~held[of_example], pods=pods.take(of_pods), of=folds)


def _folds(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the fold of each item: the largest groups come first, each into the fold that has the fewest items."""
    sizes = np.bincount(groups)
    fold_of, filled = np.zeros(len(sizes), dtype=np.int64), [(0, fold) for fold in range(count)]
    for group in np.argsort(-sizes, kind="stable").tolist():
        size, fold = heapq.heappop(filled)
        fold_of[group] = fold
        heapq.heappush(filled, (size + int(sizes[group]), fold))
    found: NDArray[np.int64] = fold_of[groups]
    return found


def forward(training_set: TrainingSet) -> Iterator[Fold]:
    """Fit on the first half of the time range, predict each pod's mean in the second."""
    first, last = _range_s(training_set)
    middle = (first + last) / 2
    past, future = training_set.where(pl.col("ts") <= middle), training_set.where(pl.col("ts") > middle)
    yield Fold(training_set=past, pods=future.pods(), at_s=middle)


def stepwise(training_set: TrainingSet) -> Iterator[Fold]:
    """Fit on all time up to a step, predict each pod's mean in the next one: as a model in use meets the day after
    (prequential evaluation; Dawid, "Present position and potential developments", JRSS A 147(2), 1984).
    """
    first, last = _range_s(training_set)
    steps = int(min(MAX_STEPS, (last - first) // _LEAST_STEP_S))
    if steps < 3:
        raise InvalidInput("the labels span too little time for steps")
    ends = np.linspace(first, last, steps + 1)
    for start, end in itertools.pairwise(ends[1:]):
        past = training_set.where(pl.col("ts") <= start)
        step = training_set.where(pl.col("ts").is_between(start, end, "right"))
        if len(past.frame) and len(step.frame):
            yield Fold(training_set=past, pods=step.pods(), at_s=float(start), of=steps - 1)


def transfer(training_set: TrainingSet) -> Iterator[Fold]:
    """Leave out each cluster and predict its pods from the others."""
    clusters = training_set.frame["cluster"].drop_nulls().unique().sort().to_list()
    if len(clusters) < 2:
        raise InvalidInput("the rows are of one cluster")
    for cluster in clusters:
        here = pl.col("cluster").eq_missing(cluster)
        elsewhere = training_set.where(~here)
        yield Fold(training_set=elsewhere, pods=training_set.where(here).pods(), of=len(clusters))


SPLITS: Mapping[str, Callable[[TrainingSet], Iterator[Fold]]] = MappingProxyType(
    {UNSEEN: unseen, FORWARD: forward, STEPWISE: stepwise, TRANSFER: transfer}
)


def _range_s(training_set: TrainingSet) -> tuple[float, float]:
    first, last = training_set.range_s
    if first == last:
        raise InvalidInput("all labels have one time, hence no future")
    return first, last
