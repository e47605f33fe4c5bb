"""What is held out: never rows, which puts steps of one pod on both sides, but workloads, times or clusters.

A split gives pairs of what is trained on and what is predicted, one a fold; InvalidInput where the rows do not have
what it needs.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from podpower.errors import InvalidInput
from podpower.learning.examples import Examples, examples_from_rows, pods_from_rows
from podpower.learning.groups import linked_groups
from podpower.learning.tables import TrainingRows

UNSEEN, FORWARD, STEPWISE, TRANSFER = "unseen workloads", "time forward", "step by step", "another cluster"
MAX_LEFT_OUT = 60  # up to so many groups each is left out on its own; beyond, FOLDS folds of groups
FOLDS = 10
MAX_STEPS = 8  # of the time range
_LEAST_STEP_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Train on one, predict each pod of the other; `at_s` is when the predicted time begins (None: the same time)."""

    training: Examples
    pods: Examples
    at_s: float | None = None


def unseen(rows: TrainingRows, target: str) -> Iterator[Fold]:
    """Leave out each workload (or, of many, a fold of them), with all that share a spec with it."""
    examples, pods = examples_from_rows(rows, target=target), pods_from_rows(rows, target=target)
    entries, others = examples.entries, pods.entries
    linked = linked_groups([*entries.workloads, *others.workloads], [*entries.spec_hashes, *others.spec_hashes])
    groups, pod_groups = linked[: len(entries)][examples.entry], linked[len(entries) :][pods.entry]
    count = len(np.unique(groups))
    if count < 2:
        raise InvalidInput("there is one workload only, hence none to leave out")
    splitter = LeaveOneGroupOut() if count <= MAX_LEFT_OUT else GroupKFold(FOLDS)
    for _, testing in splitter.split(groups, groups=groups):
        left_out = np.unique(groups[testing])
        yield Fold(training=examples.take(~np.isin(groups, left_out)), pods=pods.take(np.isin(pod_groups, left_out)))


def forward(rows: TrainingRows, target: str) -> Iterator[Fold]:
    """Fit on the first half of the time range, predict each pod's mean in the second."""
    first, last = _range_s(rows)
    middle = (first + last) / 2
    past, future = rows.where(pl.col("ts") <= middle), rows.where(pl.col("ts") > middle)
    yield Fold(
        training=examples_from_rows(past, target=target), pods=pods_from_rows(future, target=target), at_s=middle
    )


def stepwise(rows: TrainingRows, target: str) -> Iterator[Fold]:
    """Fit on all time up to a step, predict each pod's mean in the next one: as a model in use meets the day after
    (prequential evaluation; Dawid, "Present position and potential developments", JRSS A 147(2), 1984).
    """
    first, last = _range_s(rows)
    steps = int(min(MAX_STEPS, (last - first) // _LEAST_STEP_S))
    if steps < 3:
        raise InvalidInput("the labels span too little time for steps")
    ends = np.linspace(first, last, steps + 1)
    for start, end in itertools.pairwise(ends[1:]):
        past, step = rows.where(pl.col("ts") <= start), rows.where((pl.col("ts") > start) & (pl.col("ts") <= end))
        if len(past) and len(step):
            training, pods = examples_from_rows(past, target=target), pods_from_rows(step, target=target)
            yield Fold(training=training, pods=pods, at_s=float(start))


def transfer(rows: TrainingRows, target: str) -> Iterator[Fold]:
    """Leave out each cluster and predict its pods from the others."""
    clusters = rows.frame["cluster"].drop_nulls().unique().sort().to_list() if "cluster" in rows.frame.columns else []
    if len(clusters) < 2:
        raise InvalidInput("the rows are of one cluster")
    for cluster in clusters:
        here = pl.col("cluster").eq_missing(cluster)
        yield Fold(
            training=examples_from_rows(rows.where(~here), target=target),
            pods=pods_from_rows(rows.where(here), target=target),
        )


SPLITS: Mapping[str, Callable[[TrainingRows, str], Iterator[Fold]]] = MappingProxyType(
    {UNSEEN: unseen, FORWARD: forward, STEPWISE: stepwise, TRANSFER: transfer}
)


def _range_s(rows: TrainingRows) -> tuple[float, float]:
    first, last = rows.frame["ts"].min(), rows.frame["ts"].max()
    if first == last:
        raise InvalidInput("all labels have one time, hence no future")
    return float(first), float(last)  # type: ignore[arg-type]
