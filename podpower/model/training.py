"""Training: the index from the examples, the kernel and the intervals from workloads left out in turn."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.model.examples import Examples, Workload, examples_from_rows
from podpower.model.intervals import DEFAULT_LEVEL, Basis, fit_intervals
from podpower.model.neighbours import Index, Kernel, KnnModel, from_log, nearest, squared_distances, to_log

DEFAULT_NEIGHBOURS = 32
# Candidates for the kernel; training takes the pair that predicts left-out workloads best.
BANDWIDTHS = (0.35, 0.5, 0.7, 1.0, 1.4)
PRIOR_MASSES = (0.03, 0.1, 0.3, 1.0, 3.0)
_MAX_QUERIES = 2000  # entries predicted from all others when choosing: enough to rank 30 candidates
_CHUNK = 256
_PRIOR_WINDOWS = 2.0
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
    others = _others(index, neighbors or DEFAULT_NEIGHBOURS)
    kernel = _choose_kernel(others, index, values, neighbors or DEFAULT_NEIGHBOURS)
    log_power = to_log(index.power_w)
    predicted, priors = _predict_left_out(others, index, log_power, kernel)
    known = ~np.isnan(predicted)
    measured, predicted, priors = log_power[others.entries][known], predicted[known], priors[known]
    distance = np.sqrt(others.squared[known, 0])
    similar_distance = _similar_distance(distance, measured - predicted, measured - priors)
    similar = distance <= similar_distance
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
        similar_distance=similar_distance,
        intervals=fit_intervals(residuals, level=DEFAULT_LEVEL),
        target=target,
        step_seconds=examples.step_seconds,
        energy=examples.energy,
        encoder_fingerprint=examples.encoder_fingerprint,
        metrics=_left_out_metrics(measured, predicted, similar),
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
class _Others:
    """For each of q left-out entries its nearest entries of other workloads and specs: (q, k) arrays, padded with
    infinitely far ones. `entries` says which entries of the index were left out.
    """

    entries: NDArray[np.int64]
    near: NDArray[np.int64]
    squared: NDArray[np.float64]
    share: NDArray[np.float64]


def _others(index: Index, neighbours: int) -> _Others:
    entries = np.arange(len(index))
    if len(entries) > _MAX_QUERIES:
        entries = entries[:: -(-len(entries) // _MAX_QUERIES)]
    groups = _codes(index.workloads)
    specs = _codes(index.spec_hashes)
    norms = np.einsum("ij,ij->i", index.vectors, index.vectors, dtype=np.float64)
    near, squared = [], []
    for start in range(0, len(entries), _CHUNK):
        chunk = entries[start : start + _CHUNK]
        distances = squared_distances(index.vectors[chunk], index.vectors, norms)
        own = (groups[chunk, None] == groups[None, :]) | (specs[chunk, None] == specs[None, :])
        distances[own] = np.inf
        positions, values = nearest(distances, neighbours)
        near.append(positions)
        squared.append(values)
    found = np.concatenate(near)
    return _Others(entries=entries, near=found, squared=np.concatenate(squared), share=index.share[found])


def _codes(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _predict_left_out(
    others: _Others, index: Index, values: NDArray[np.float64], kernel: Kernel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log predictions of the left-out entries (NaN: unknown), each with the prior of the others; and those priors."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    weights = kernel.weights(others.squared) * others.share * known[others.near]
    mass = weights.sum(axis=1)
    # The prior without the entry's own workload. Entries of the same spec elsewhere remain in it: they are few.
    groups = _codes(index.workloads)
    share = index.share * known
    own_share = np.bincount(groups, weights=share)[groups][others.entries]
    own_sum = np.bincount(groups, weights=share * filled)[groups][others.entries]
    rest = share.sum() - own_share
    alone = rest <= 1e-12
    priors = np.where(alone, 0.0, (share @ filled - own_sum) / np.where(alone, 1.0, rest))
    predicted = ((weights * filled[others.near]).sum(axis=1) + kernel.prior_mass * priors) / (mass + kernel.prior_mass)
    return np.where(alone | ~known[others.entries], np.nan, predicted), priors


def _choose_kernel(others: _Others, index: Index, values: NDArray[np.float64], neighbours: int) -> Kernel:
    """The candidate with the least squared log error on left-out entries, each workload counted once."""
    best_loss, best = np.inf, Kernel(neighbours=neighbours, bandwidth=BANDWIDTHS[2], prior_mass=PRIOR_MASSES[2])
    for bandwidth in BANDWIDTHS:
        for prior_mass in PRIOR_MASSES:
            kernel = Kernel(neighbours=neighbours, bandwidth=bandwidth, prior_mass=prior_mass)
            predicted, _ = _predict_left_out(others, index, values, kernel)
            known = ~np.isnan(predicted)
            if not known.any():
                return best
            errors = (values[others.entries] - predicted)[known]
            loss = float(np.average(errors**2, weights=index.share[others.entries][known]))
            if loss < best_loss * (1 - 1e-9):
                best_loss, best = loss, kernel
    return best


def _similar_distance(
    distance: NDArray[np.float64], errors: NDArray[np.float64], prior_errors: NDArray[np.float64]
) -> float:
    """The distance of the nearest neighbour up to which left-out entries were, in sum, better off than with the prior;
    0 where neighbours are of no help at all.
    """
    order = np.argsort(distance, kind="stable")
    gains = np.cumsum((prior_errors**2 - errors**2)[order])
    best = int(gains.argmax()) if len(gains) else 0
    return float(distance[order][best]) if len(gains) and gains[best] > 0 else 0.0


def _left_out_metrics(
    measured: NDArray[np.float64], predicted: NDArray[np.float64], similar: NDArray[np.bool_]
) -> dict[str, Any]:
    """How well left-out entries were predicted, in watts and in logs. The kernel was chosen on them: see `evaluate`
    for figures on workloads that had no part in that.
    """
    if not len(measured):
        return {"left_out_entries": 0}
    errors, spread = measured - predicted, measured - measured.mean()
    watts, predicted_watts = from_log(measured), from_log(predicted)
    variance = float(spread @ spread)
    return {
        "left_out_entries": len(errors),
        "left_out_wape": float(np.abs(predicted_watts - watts).sum() / watts.sum()) if watts.sum() > 0 else None,
        "left_out_log_r2": 1.0 - float(errors @ errors) / variance if variance > 0 else None,
        "left_out_similar_share": float(similar.mean()),
    }


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
    residuals = [_against_others(examples, positions) for positions in _members(examples).values()]
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


def _against_others(examples: Examples, positions: list[int]) -> NDArray[np.float64]:
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
