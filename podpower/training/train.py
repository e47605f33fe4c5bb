"""Training: the index from the examples, and what is chosen from workloads left out in turn."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.examples import Examples
from podpower.datasets.training_set import Labelled, Rows
from podpower.errors import InvalidInput
from podpower.features.names import same_kind
from podpower.model.index import EXACT_ENTRIES, Index
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
from podpower.model.partial_pooling import Masses, remoteness
from podpower.model.prior import fit_prior, left_out_priors
from podpower.model.scale import to_log
from podpower.training.decay import HORIZONS, Windows, choose_half_life, errors_ahead, smoothed
from podpower.training.groups import linked_groups
from podpower.training.ivf import make_cells
from podpower.training.leave_out import (
    Others,
    climb_left_out,
    left_out_metrics,
    of_same_specs,
    similar_within,
    to_learn_from,
)
from podpower.training.metric import DEFAULT_MASS, default_metric, learn_metric

DEFAULT_NEIGHBOURS = 32
_PRIOR_WINDOWS = 2.0  # of the common spread; an entry with two hours of its own is half believed
_ALIKE = 1e-9  # of log power
_MIN_SPREAD = 1e-3  # hours that agree better than this agree by rounding


def train(rows: Rows, *, target: str = "energy_step_j", neighbors: int | None = None) -> KnnModel:
    """A model of `target` from `train_rows` (docs/reference/file-formats.md); `neighbors` bounds how many are averaged.

    With one workload only there is nothing to choose or to judge by: the model says so in `notes`, and its intervals
    are wide. InvalidInput when no label is known, all are zero, columns are missing or encoders are mixed.
    """
    labelled = Labelled.of(rows, target=target)
    return train_examples(
        labelled.examples(), target=labelled.target, neighbors=neighbors, row_count=labelled.row_count
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
) -> KnnModel:
    """`train` on examples that are already aggregated. `without` names blocks of columns to leave out, by position."""
    check_trainable(examples, neighbors=neighbors)
    entries, neighbours = examples.entries, neighbors or DEFAULT_NEIGHBOURS
    history = _History.of(examples)
    of_workload = Counter(entries.workloads)
    share = np.array([1.0 / of_workload[workload] for workload in entries.workloads])
    logs, physical = to_log(history.power_w), to_log(entries.physical_power_w)
    jobs = ~np.isnan(history.total_energy_j)
    notes = _notes(examples, workloads=len(of_workload))
    learned = _learned(examples, history, share, target=target, neighbours=neighbours, without=without)
    vectors = entries.vectors * learned.metric.scales()
    large = len(entries) > EXACT_ENTRIES
    cells = make_cells(vectors) if large else None
    metrics = learned.metrics | ({} if cells is None else {"search_recall_at_10": cells.recall_at_10})
    return KnnModel(
        index=Index(
            vectors=vectors.astype(np.float16) if large else np.ascontiguousarray(vectors),
            spec_hashes=list(entries.spec_hashes),
            clusters=[cluster or "" for cluster in entries.clusters],
            namespaces=[namespace for namespace, _, _ in entries.workloads],
            kinds=[kind for _, kind, _ in entries.workloads],
            names=[name for _, _, name in entries.workloads],
            image_keys=[key or "" for key in entries.image_keys],
            power_w=history.power_w,
            total_energy_j=history.total_energy_j,
            seconds=history.seconds,
            share=share,
            spread=history.spread,
        ),
        cells=cells,
        metric=learned.metric,
        neighbours=neighbours,
        masses=learned.masses,
        prior=fit_prior(physical, [same_kind(kind) for _, kind, _ in entries.workloads], logs, share),
        prior_total=_mean(np.log1p(history.total_energy_j[jobs]), share[jobs]),
        similar_within=learned.similar_within,
        intervals=learned.intervals,
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
            "workloads": len(of_workload),
        },
        notes=notes,
    )


def _notes(examples: Examples, *, workloads: int) -> list[str]:
    notes = []
    if workloads == 1:
        notes.append(
            "trained on one workload only: of others this tells little more than their resources do, and their "
            "intervals are assumed"
        )
    elif _alike(to_log(examples.power_w)):
        notes.append(
            "all labels are the same, which no cluster's are: nothing can be learned of what differs between "
            "workloads, and intervals are assumed"
        )
    if not examples.encoder_fingerprint:
        notes.append("the rows do not name their encoder: nothing can be predicted from specs")
    return notes


def _alike(logs: NDArray[np.float64]) -> bool:
    return bool(np.ptp(logs) < _ALIKE)


@dataclass(frozen=True, kw_only=True)
class _Learned:
    metric: Metric
    masses: Masses
    similar_within: float
    intervals: Intervals
    metrics: dict[str, object]


def _learned(
    examples: Examples,
    history: "_History",
    share: NDArray[np.float64],
    *,
    target: str,
    neighbours: int,
    without: frozenset[int],
) -> _Learned:
    """The metric is chosen for the target; everything after it for power, which is what intervals are of."""
    entries, metric = examples.entries, default_metric(examples.entries.blocks, without=without)
    groups, physical = linked_groups(entries.workloads, entries.spec_hashes), to_log(entries.physical_power_w)
    kinds = [same_kind(kind) for _, kind, _ in entries.workloads]

    def others(logs: NDArray[np.float64], at: NDArray[np.int64]) -> Others:
        priors = left_out_priors(physical[at], [kinds[i] for i in at], logs, share[at], groups[at])
        return Others(entries=entries.take(at), logs=logs, share=share[at], groups=groups[at], priors=priors)

    everything = np.arange(len(entries))
    power = others(to_log(history.power_w), everything)
    errors_elsewhere = of_same_specs(entries.spec_hashes, history.power_w, history.seconds)
    aim = power
    if target == "total_energy_j":
        at = np.flatnonzero(~np.isnan(history.total_energy_j))
        aim = others(np.log1p(history.total_energy_j[at]), at)
    if int(groups.max()) == 0 or _alike(power.logs):  # nothing is left when it is left out, or nothing to be learned
        masses = Masses(**DEFAULT_MASS)
        residuals: dict[Source, NDArray[np.float64]] = dict.fromkeys(SOURCES, np.zeros(0))
        residuals["seen"] = history.residuals
        residuals["elsewhere"] = errors_elsewhere / UNKNOWN_WIDENING.expected[0]
        intervals = fit_intervals(residuals, widening=UNKNOWN_WIDENING)
        return _Learned(
            metric=metric, masses=masses, similar_within=1.0, intervals=intervals, metrics={"left_out_entries": 0}
        )
    metric, mass = learn_metric(to_learn_from(aim, metric), metric)
    judged, masses = climb_left_out(power, metric, neighbours, mass)
    measured = power.logs[judged.entries]
    errors = measured - judged.predicted
    remote = remoteness(judged.prior_share, masses.neighbours)
    within = similar_within(remote, errors, measured - power.priors[judged.entries])
    similar, widening = remote <= within, fit_widening(remote, errors)
    relative = errors / widening.at(remote)
    typical = float(widening.at(remote).mean())
    residuals = {
        "seen": history.residuals,
        "similar": relative[similar],
        "prior": relative[~similar],
        "revised": judged.of_revisions / typical,
        "elsewhere": errors_elsewhere / widening.expected[0],
    }
    return _Learned(
        metric=metric,
        masses=masses,
        similar_within=within,
        intervals=fit_intervals(residuals, widening=widening, typical=typical),
        metrics=left_out_metrics(measured, judged.predicted, similar),
    )


@dataclass(frozen=True, kw_only=True)
class _History:
    """What the windows of each entry say of it: faded means (m,) and seconds (m,), the mean energy of its jobs (m,),
    how far its windows lie apart (m,); and `residuals` of windows against those before, in units of that spread.
    """

    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    spread: NDArray[np.float64]
    residuals: NDArray[np.float64]
    half_life_s: float

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
    spread are added to its own; of the horizons that at which windows lie farthest from what was known. A residual is
    divided by the spread that the other windows tell, which is what a new window will meet.
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
