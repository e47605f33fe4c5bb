"""Entries predicted from those of other workloads and other specs: what training chooses and judges itself by."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.model.neighbours import Index, Kernel, from_log, nearest, shrunk_mean, squared_distances

# Candidates for the kernel; training takes the pair that predicts left-out workloads best.
BANDWIDTHS = (0.35, 0.5, 0.7, 1.0, 1.4)
PRIOR_MASSES = (0.03, 0.1, 0.3, 1.0, 3.0)
_MAX_QUERIES = 2000  # entries predicted from all others when choosing: enough to rank the candidates
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """For each of q left-out entries its nearest entries of other workloads and specs: (q, k) arrays, padded with
    infinitely far ones. `entries` says which entries of the index were left out.
    """

    entries: NDArray[np.int64]
    near: NDArray[np.int64]
    squared: NDArray[np.float64]
    share: NDArray[np.float64]


def leave_out(index: Index, neighbours: int) -> LeftOut:
    """For every entry of the index, or _MAX_QUERIES of them spread evenly, its nearest `neighbours` among others."""
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
    return LeftOut(entries=entries, near=found, squared=np.concatenate(squared), share=index.share[found])


def _codes(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def predict_left_out(
    left_out: LeftOut, index: Index, values: NDArray[np.float64], kernel: Kernel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log predictions of the left-out entries (NaN: unknown), each with the prior of the others; and those priors."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    weights = kernel.weights(left_out.squared) * left_out.share * known[left_out.near]
    # The prior without the entry's own workload. Entries of the same spec elsewhere remain in it: they are few.
    groups = _codes(index.workloads)
    share = index.share * known
    own_share = np.bincount(groups, weights=share)[groups][left_out.entries]
    own_sum = np.bincount(groups, weights=share * filled)[groups][left_out.entries]
    rest = share.sum() - own_share
    alone = rest <= 1e-12
    priors = np.where(alone, 0.0, (share @ filled - own_sum) / np.where(alone, 1.0, rest))
    predicted = shrunk_mean(weights, filled[left_out.near], priors, kernel.prior_mass)
    return np.where(alone | ~known[left_out.entries], np.nan, predicted), priors


def choose_kernel(left_out: LeftOut, index: Index, values: NDArray[np.float64], neighbours: int) -> Kernel:
    """The candidate with the least squared log error on left-out entries, each workload counted once."""
    best_loss, best = np.inf, Kernel(neighbours=neighbours, bandwidth=BANDWIDTHS[2], prior_mass=PRIOR_MASSES[2])
    for bandwidth in BANDWIDTHS:
        for prior_mass in PRIOR_MASSES:
            kernel = Kernel(neighbours=neighbours, bandwidth=bandwidth, prior_mass=prior_mass)
            predicted, _ = predict_left_out(left_out, index, values, kernel)
            known = ~np.isnan(predicted)
            if not known.any():
                return best
            errors = (values[left_out.entries] - predicted)[known]
            loss = float(np.average(errors**2, weights=index.share[left_out.entries][known]))
            if loss < best_loss * (1 - 1e-9):
                best_loss, best = loss, kernel
    return best


def similar_distance(
    distance: NDArray[np.float64], errors: NDArray[np.float64], prior_errors: NDArray[np.float64]
) -> float:
    """The distance of the nearest neighbour up to which left-out entries were, in sum, better off than with the prior;
    0 where neighbours are of no help at all.
    """
    order = np.argsort(distance, kind="stable")
    gains = np.cumsum((prior_errors**2 - errors**2)[order])
    best = int(gains.argmax()) if len(gains) else 0
    return float(distance[order][best]) if len(gains) and gains[best] > 0 else 0.0


def left_out_metrics(
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
