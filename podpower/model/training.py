"""Training: the index from the examples, the kernel and the intervals from workloads left out in turn."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.model.examples import Examples, Workload, examples_from_rows
from podpower.model.intervals import DEFAULT_LEVEL, Basis, fit_intervals
from podpower.model.left_out import choose_kernel, leave_out, left_out_metrics, predict_left_out, similar_distance
from podpower.model.neighbours import Index, KnnModel, to_log

DEFAULT_NEIGHBOURS = 32
_PRIOR_WINDOWS = 2.0  # of the common spread; an entry with two hours of its own is half believed
_MIN_SPREAD = 1e-3  # hours that agree better than this agree by rounding


def train(rows: pl.DataFrame, *, target: str = "energy_step_j", neighbors: int | None = None) -> KnnModel:
    """A model of `target` from `train_rows` (docs/data-contracts.md); `neighbors` bounds how many are averaged.

    With one workload only there is nothing to choose or to judge by: the model says so in `notes`, and its intervals
    are wide. InvalidInput when no label is known, all are zero, columns are missing or encoders are mixed.
    """
    examples = examples_from_rows(rows, target=target)
    return train_examples(examples, target=target, neighbors=neighbors, row_count=len(rows))


def train_examples(
    examples: Examples, *, target: str = "energy_step_j", neighbors: int | None = None, row_count: int | None = None
) -> KnnModel:
    """`train` on examples that are already aggregated."""
    if neighbors is not None and neighbors < 1:
        raise InvalidInput(f"neighbors must be at least 1, not {neighbors}")
    if not (examples.power_w > 0).any():
        raise InvalidInput(
            "all labels are zero: Kepler reports 0 W everywhere, as it does without hardware counters (most cloud "
            "VMs); see `podpower doctor`"
        )
    hours = _hours(examples)
    index = _build_index(examples, hours)
    values = np.log1p(index.total_energy_j) if target == "total_energy_j" else to_log(index.power_w)
    left_out = leave_out(index, neighbors or DEFAULT_NEIGHBOURS)
    kernel = choose_kernel(left_out, index, values, neighbors or DEFAULT_NEIGHBOURS)
    log_power = to_log(index.power_w)
    predicted, priors = predict_left_out(left_out, index, log_power, kernel)
    known = ~np.isnan(predicted)
    measured, predicted, priors = log_power[left_out.entries][known], predicted[known], priors[known]
    distance = np.sqrt(left_out.squared[known, 0])
    within = similar_distance(distance, measured - predicted, measured - priors)
    similar = distance <= within
    residuals: dict[Basis, NDArray[np.float64]] = {
        "seen": hours.residuals,
        "similar": (measured - predicted)[similar],
        "prior": (measured - predicted)[~similar],
    }
    jobs = ~np.isnan(index.total_energy_j)
    notes = []
    if len(set(index.workloads)) == 1:
        notes.append("trained on one workload only: every other workload gets its power, with no idea of the error")
    return KnnModel(
        index=index,
        kernel=kernel,
        prior_power=_prior(log_power, index.share),
        prior_total=_prior(np.log1p(index.total_energy_j[jobs]), index.share[jobs]),
        similar_distance=within,
        intervals=fit_intervals(residuals, level=DEFAULT_LEVEL),
        target=target,
        step_seconds=examples.step_seconds,
        energy=examples.energy,
        encoder_fingerprint=examples.encoder_fingerprint,
        metrics=left_out_metrics(measured, predicted, similar),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_size={
            "rows": len(examples) if row_count is None else row_count,
            "rows_left_out": sum(examples.left_out.values()),
            "examples": len(examples),
            "specs": len(set(index.spec_hashes)),
            "workloads": len(set(index.workloads)),
        },
        notes=notes,
    )


def _build_index(examples: Examples, hours: "_Hours") -> Index:
    """One entry for each (spec, workload): means over its windows weighed by their seconds, its latest vector."""
    members = _members(examples)
    entries, positions = list(members), list(members.values())
    of_workload = Counter(workload for _, workload in entries)
    last = [p[-1] for p in positions]
    return Index(
        vectors=np.ascontiguousarray(examples.vectors[last]),
        spec_hashes=[spec_hash for spec_hash, _ in entries],
        workloads=[workload for _, workload in entries],
        image_keys=[examples.image_keys[p] for p in last],
        power_w=np.array([np.average(examples.power_w[p], weights=examples.seconds[p]) for p in positions]),
        total_energy_j=np.array([_mean_known(examples.total_energy_j[p]) for p in positions]),
        seconds=np.array([examples.seconds[p].sum() for p in positions]),
        share=np.array([1.0 / of_workload[workload] for _, workload in entries]),
        spread=hours.spread,
    )


def _mean_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _prior(values: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    return float(np.average(values, weights=share)) if len(values) else float("nan")


@dataclass(frozen=True, kw_only=True)
class _Hours:
    """How hours of each entry differ: `spread` (n,) for the index, `residuals` over the spread for the interval."""

    spread: NDArray[np.float64]
    residuals: NDArray[np.float64]


def _hours(examples: Examples) -> _Hours:
    """Log power of each window against the mean of the other windows of its spec and workload.

    An entry's spread is shrunk to that of all: _PRIOR_WINDOWS windows of the common spread are added to its own. A
    residual is divided by the spread that the other windows tell, which is what a new window will meet.
    """
    residuals = [_againstleave_out(examples, positions) for positions in _members(examples).values()]
    pooled = np.concatenate(residuals)
    if not len(pooled):  # one window each: the interval is that of the unseen, in full
        return _Hours(spread=np.ones(len(residuals)), residuals=pooled)
    common = max(float(np.mean(pooled**2)), _MIN_SPREAD**2)

    def spread(squares: NDArray[np.float64], windows: float) -> NDArray[np.float64]:
        shrunk: NDArray[np.float64] = np.sqrt((squares + _PRIOR_WINDOWS * common) / (windows + _PRIOR_WINDOWS))
        return shrunk

    return _Hours(
        spread=np.array([float(spread((r**2).sum(), len(r))) for r in residuals]),
        residuals=np.concatenate([r / spread((r**2).sum() - r**2, len(r) - 1) for r in residuals if len(r)]),
    )


def _againstleave_out(examples: Examples, positions: list[int]) -> NDArray[np.float64]:
    if len(positions) < 2:
        return np.zeros(0)
    power_w, seconds = examples.power_w[positions], examples.seconds[positions]
    rest = ((power_w @ seconds) - power_w * seconds) / (seconds.sum() - seconds)
    return to_log(power_w) - to_log(np.maximum(rest, 0.0))


def _members(examples: Examples) -> dict[tuple[str, Workload], list[int]]:
    """The examples of each entry of the index, in its order."""
    members: dict[tuple[str, Workload], list[int]] = defaultdict(list)
    for position, key in enumerate(zip(examples.spec_hashes, examples.workloads, strict=True)):
        members[key].append(position)
    return dict(sorted(members.items()))
