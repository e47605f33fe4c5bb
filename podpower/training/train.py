"""Training: measured entries from the examples, and what is chosen on workloads left out in turn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, Examples, MeasuredEntries
from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.datasets.training_set import Rows, TrainingSet
from podpower.errors import InvalidInput
from podpower.model.estimator import Estimator
from podpower.model.expected import MeanFactors, fit_mean_factors
from podpower.model.intervals import (
    SOURCES,
    UNKNOWN_ERROR,
    UNKNOWN_WIDENING,
    Intervals,
    Source,
    fit_intervals,
    fit_widening,
)
from podpower.model.knn import KnnModel
from podpower.model.metric import Metric
from podpower.model.partial_pooling import PseudoCounts, remoteness
from podpower.model.prior import fit_prior, left_out_priors
from podpower.model.scale import from_log, to_log
from podpower.model.search import EXACT_ENTRIES
from podpower.training.decay import HORIZONS, Windows, choose_half_life, errors_ahead, smoothed
from podpower.training.groups import linked_groups
from podpower.training.ivf import make_inverted_file
from podpower.training.leave_out import (
    FIT_NEIGHBOURS,
    known_specs,
    left_out_metrics,
    nearest_left_out,
    new_specs,
    new_workloads,
    similar_within,
)
from podpower.training.metric import DEFAULT_PSEUDO_COUNTS, default_metric, learn_metric

DEFAULT_NEIGHBOURS = 32
_PRIOR_WINDOWS = 2.0  # of the common spread; an entry with two hours of its own is half believed
_EQUAL = 1e-9  # of log power
_MIN_SPREAD = 1e-3  # hours that agree better than this agree by rounding


def train(
    rows: Rows, *, target: str | None = None, neighbors: int | None = None, notes: Sequence[str] = ()
) -> KnnModel:
    """A model of `target` from `train_rows` (docs/reference/file-formats.md); `neighbors` bounds how many are averaged.

    `notes` become notes of the model. With one workload only there is nothing to choose or to judge by: the model says
    so in its notes, and its intervals are wide. InvalidInput when no label is known, all are zero, columns are missing
    or encoders are mixed.
    """
    training_set = TrainingSet.of(rows, target=target)
    return train_examples(
        training_set.examples(),
        target=training_set.target,
        neighbors=neighbors,
        row_count=training_set.row_count,
        notes=notes,
    )


def check_trainable(examples: Examples, *, neighbors: int | None) -> None:
    """InvalidInput where there is nothing to be learned from, or `neighbors` is no number of neighbours."""
    if neighbors is not None and neighbors < 1:
        raise InvalidInput(f"neighbors must be at least 1, not {neighbors}")
    if not (examples.power_w > 0).any():
        raise InvalidInput(
            "all labels are zero: Kepler reports 0 W everywhere, as it does without hardware counters (most cloud "
            "VMs); see `podpower doctor`"
        )


def train_examples(
    examples: Examples,
    *,
    target: str = "energy_step_j",
    neighbors: int | None = None,
    row_count: int | None = None,
    without: frozenset[int] = frozenset(),
    notes: Sequence[str] = (),
) -> KnnModel:
    """`train` on examples that are already aggregated. `without` names blocks of columns to leave out, by position."""
    check_trainable(examples, neighbors=neighbors)
    neighbours, history = neighbors or DEFAULT_NEIGHBOURS, _History.of(examples)
    entries = history.entries(examples.entries)
    learned = _learned(
        entries,
        history.residuals,
        default_metric(examples.blocks, without=without),
        target=target,
        neighbours=neighbours,
    )
    metrics, inverted_file = learned.metrics, None
    if len(entries) > EXACT_ENTRIES:
        inverted_file = make_inverted_file(entries.vectors, learned.metric.scales())
        entries = replace(entries, vectors=entries.vectors.astype(np.float16))
        metrics = metrics | {"search_recall_at_10": inverted_file.recall_at_10}
    jobs = ~np.isnan(entries.total_energy_j)
    workloads = len(set(entries.workloads))
    return KnnModel(
        index=entries,
        inverted_file=inverted_file,
        metric=learned.metric,
        neighbours=neighbours,
        pseudo_counts=learned.pseudo_counts,
        prior=fit_prior(to_log(entries.physical_power_w), entries.controllers, to_log(entries.power_w), entries.share),
        prior_total=_mean(np.log1p(entries.total_energy_j[jobs]), entries.share[jobs]),
        similar_within=learned.similar_within,
        intervals=learned.intervals,
        mean_factors=learned.mean_factors,
        half_life_s=history.half_life_s,
        target=target,
        step_seconds=examples.step_seconds,
        energy=examples.energy,
        encoder_fingerprint=examples.encoder_fingerprint,
        metrics=metrics,
        labels_end_s=float(examples.last_s.max()),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_size={
            "rows": len(examples) if row_count is None else row_count,
            "rows_left_out": sum(examples.left_out.values()),
            "examples": len(examples),
            "specs": len(set(entries.spec_hashes)),
            "workloads": workloads,
        },
        notes=[*_notes(examples, workloads=workloads), *notes],
        spec_hash_version=FIRST_VERSION if examples.older_hashes else HASH_VERSION,
    )


def _notes(examples: Examples, *, workloads: int) -> list[str]:
    notes = []
    if workloads == 1:
        notes.append(
            "trained on one workload only: others are predicted from little more than their resources, and their "
            "intervals are assumed"
        )
    elif _all_equal(to_log(examples.power_w)):
        notes.append(
            "all labels are the same, which no cluster's are: nothing can be learned of what differs between "
            "workloads, and intervals are assumed"
        )
    if not examples.encoder_fingerprint:
        notes.append("the rows do not name their encoder: nothing can be predicted from specs")
    return notes


def _all_equal(logs: NDArray[np.float64]) -> bool:
    return bool(np.ptp(logs) < _EQUAL)


@dataclass(frozen=True, kw_only=True)
class _Learned:
    metric: Metric
    pseudo_counts: PseudoCounts
    similar_within: float
    intervals: Intervals
    mean_factors: MeanFactors
    metrics: dict[str, object]


def _learned(
    entries: MeasuredEntries, seen: NDArray[np.float64], metric: Metric, *, target: str, neighbours: int
) -> _Learned:
    """Everything that is chosen on entries left out; `seen` are the residuals of windows against those before.

    The metric is chosen for the target; everything after it for power, which is what intervals are of.
    """
    groups, logs = linked_groups(entries.workloads, entries.spec_hashes), to_log(entries.power_w)
    if int(groups.max()) == 0 or _all_equal(logs):  # nothing remains without it, or nothing to be learned
        return _unlearned(entries, seen, metric)
    priors = _priors(entries, logs, groups)
    metric, neighbour_count = _learned_metric(entries, groups, metric, target=target)
    estimator = Estimator(entries, metric=metric, neighbours=neighbours)
    new, pseudo_counts = new_workloads(estimator, groups, priors, neighbour_count)
    elsewhere, pseudo_counts = known_specs(estimator, priors, pseudo_counts)
    revised, pseudo_counts = new_specs(estimator, priors, pseudo_counts)
    measured = logs[new.entries]
    errors = measured - new.predicted
    remote = remoteness(new.prior_share, pseudo_counts["neighbours"])
    within = similar_within(remote, errors, measured - priors[new.entries])
    similar, widening = remote <= within, fit_widening(remote, errors)
    relative = errors / widening.at(remote)
    typical = float(widening.at(remote).mean())
    residuals: dict[Source, NDArray[np.float64]] = {
        "seen": seen,
        "similar": relative[similar],
        "prior": relative[~similar],
        "revised": (logs[revised.entries] - revised.predicted) / typical,
        "elsewhere": (logs[elsewhere.entries] - elsewhere.predicted) / widening.expected[0],
    }
    return _Learned(
        metric=metric,
        pseudo_counts=pseudo_counts,
        similar_within=within,
        intervals=fit_intervals(residuals, widening=widening, typical=typical),
        mean_factors=fit_mean_factors(
            from_log(new.predicted), entries.power_w[new.entries], entries.share[new.entries], new.familiar
        ),
        metrics=left_out_metrics(measured, new.predicted, similar),
    )


def _priors(entries: MeasuredEntries, logs: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    return left_out_priors(to_log(entries.physical_power_w), entries.controllers, logs, entries.share, groups)


def _learned_metric(
    entries: MeasuredEntries, groups: NDArray[np.int64], metric: Metric, *, target: str
) -> tuple[Metric, float]:
    values = to_log(entries.power_w)
    if target == "total_energy_j":
        at = np.flatnonzero(~np.isnan(entries.total_energy_j))
        entries, groups = entries.take(at), groups[at]
        values = np.log1p(entries.total_energy_j)
    priors = _priors(entries, values, groups)
    estimator = Estimator(entries, metric=metric, neighbours=FIT_NEIGHBOURS)
    return learn_metric(nearest_left_out(estimator, groups, values, priors, metric.blocks), metric)


def _unlearned(entries: MeasuredEntries, seen: NDArray[np.float64], metric: Metric) -> _Learned:
    """Defaults, with assumed errors."""
    residuals: dict[Source, NDArray[np.float64]] = dict.fromkeys(SOURCES, np.zeros(0))
    residuals["seen"] = seen
    estimator = Estimator(entries, metric=metric, neighbours=1)
    priors = np.full(len(entries), to_log(entries.power_w).mean())
    elsewhere, _ = known_specs(estimator, priors, DEFAULT_PSEUDO_COUNTS)
    errors = to_log(entries.power_w)[elsewhere.entries] - elsewhere.predicted
    residuals["elsewhere"] = errors / UNKNOWN_WIDENING.expected[0]
    return _Learned(
        metric=metric,
        pseudo_counts=DEFAULT_PSEUDO_COUNTS,
        similar_within=1.0,
        intervals=fit_intervals(residuals, widening=UNKNOWN_WIDENING),
        mean_factors=MeanFactors(),
        metrics={"left_out_entries": 0},
    )


@dataclass(frozen=True, kw_only=True)
class _History:
    """The windows of each entry in a few numbers: decayed means (m,) and seconds (m,), the mean energy of its jobs
    (m,), how far its windows are apart (m,); and `residuals` of windows against those before, in units of that spread.
    """

    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    spread: NDArray[np.float64]
    residuals: NDArray[np.float64]
    half_life_s: float

    def entries(self, entries: Entries) -> MeasuredEntries:
        """The entries with what was measured of them."""
        of_workload = Counter(entries.workloads)
        return MeasuredEntries(
            **{field.name: getattr(entries, field.name) for field in fields(entries)},
            power_w=self.power_w,
            total_energy_j=self.total_energy_j,
            seconds=self.seconds,
            share=np.array([1.0 / of_workload[workload] for workload in entries.workloads]),
            spread=self.spread,
        )

    @classmethod
    def of(cls, examples: Examples) -> "_History":
        count = len(examples.entries)
        order = np.lexsort((examples.first_s, examples.entry))
        entry = examples.entry[order]
        windows = Windows(
            power_w=examples.power_w[order],
            seconds=examples.seconds[order],
            times_s=examples.first_s[order],
            starts=np.searchsorted(entry, np.arange(count + 1)).astype(np.int64),
        )
        half_life_s = choose_half_life(windows)
        mean, seconds = smoothed(windows, half_life_s)
        last = windows.starts[1:] - 1
        age_s = windows.times_s.max() - windows.times_s[last]
        spread, residuals = _spread(windows, entry, half_life_s)
        energy = examples.total_energy_j[order]
        known = ~np.isnan(energy)
        totals = np.bincount(entry[known], weights=energy[known], minlength=count)
        runs = np.bincount(entry[known], minlength=count)
        return cls(
            power_w=mean[last],
            total_energy_j=np.where(runs > 0, totals / np.maximum(runs, 1), np.nan),
            seconds=np.maximum(seconds[last] * 0.5 ** (age_s / half_life_s), 1e-6),
            spread=spread,
            residuals=residuals,
            half_life_s=half_life_s,
        )


def _spread(
    windows: Windows, entry: NDArray[np.int64], half_life_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The spread of each entry's windows, shrunk to that of the median entry: _PRIOR_WINDOWS windows of the common
    spread are added to its own; of the horizons that at which windows are farthest from what was known. A residual is
    divided by the spread of the other windows, which is what a new window will meet.
    """
    parts = [errors_ahead(windows, half_life_s, horizon) for horizon in HORIZONS]
    at, errors = max(parts, key=lambda part: float(np.mean(part[1] ** 2)) if len(part[1]) else -1.0)
    count = len(windows.starts) - 1
    if not len(errors):  # one window each: the interval is that of the unseen, in full
        return np.full(count, UNKNOWN_ERROR), errors
    owner = entry[at]
    squares = np.bincount(owner, weights=errors**2, minlength=count)
    number = np.bincount(owner, minlength=count) * 1.0
    # The median entry's: one bursty workload must not make all calm ones look bursty.
    common = max(float(np.median(squares[number > 0] / number[number > 0])), _MIN_SPREAD**2)

    def shrunk(squares: NDArray[Any], number: NDArray[Any]) -> NDArray[np.float64]:
        spread: NDArray[np.float64] = np.sqrt((squares + _PRIOR_WINDOWS * common) / (number + _PRIOR_WINDOWS))
        return spread

    return shrunk(squares, number), errors / shrunk(squares[owner] - errors**2, number[owner] - 1)


def _mean(values: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    return float(np.average(values, weights=share)) if len(values) else float("nan")
