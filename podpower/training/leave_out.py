"""Entries predicted from those of other workloads and other specs: what training chooses and judges itself by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.examples import Entries
from podpower.features.names import same_kind
from podpower.model.index import nearest, squared_distances
from podpower.model.metric import Metric, alike_kernel, kernel
from podpower.model.partial_pooling import Masses, start
from podpower.model.scale import from_log, to_log
from podpower.training.metric import DEFAULT_MASS, LeftOut, choose_mass

MAX_ENTRIES = 2000  # predicted from all others: enough to choose and to judge by
FIT_ENTRIES, FIT_NEIGHBOURS = 500, 256  # of these the metric is learned
_CHUNK_CELLS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Others:
    """The whole of the known: entries, log values (n,), shares (n,) and groups (n,), of which none may be split."""

    entries: Entries
    logs: NDArray[np.float64]
    share: NDArray[np.float64]
    groups: NDArray[np.int64]
    priors: NDArray[np.float64]  # what is expected of each entry without its group

    def sample(self, most: int) -> NDArray[np.int64]:
        """Positions of at most so many entries, spread evenly."""
        count = len(self.entries)
        return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)

    def near(
        self, queries: NDArray[np.int64], metric: Metric, neighbours: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of the entries at `queries` the nearest of other groups: positions and squared distances (q, k), infinitely
        far where there are fewer.
        """
        vectors = self.entries.vectors * metric.scales()
        norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        parts = []
        for chunk in np.array_split(queries, max(1, -(-len(queries) * len(vectors) // _CHUNK_CELLS))):
            distances = squared_distances(vectors[chunk], vectors, norms)
            distances[self.groups[chunk, None] == self.groups[None, :]] = np.inf
            parts.append(nearest(distances, neighbours))
        return np.concatenate([p for p, _ in parts]), np.concatenate([s for _, s in parts])


def to_learn_from(others: Others, metric: Metric, neighbours: int = FIT_NEIGHBOURS) -> LeftOut:
    """What the metric is learned from: entries with their nearest by the metric that learning starts with."""
    queries = others.sample(FIT_ENTRIES)
    near, squared = others.near(queries, metric, neighbours)
    there = np.isfinite(squared)
    ends = np.cumsum(others.entries.blocks)
    apart = np.zeros((len(ends), *near.shape))
    vectors = others.entries.vectors
    for block, (first, last) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
        for row in range(0, len(queries), 64):  # a few at a time: differences are as large as all their vectors
            part = slice(row, row + 64)
            differences = vectors[near[part], first:last] - vectors[queries[part], None, first:last]
            apart[block, part] = np.einsum("qkd,qkd->qk", differences, differences, dtype=np.float64)
    return LeftOut(
        apart=apart,
        share=np.where(there, others.share[near], 0.0),
        logs=np.where(there, others.logs[near], 0.0),
        prior=others.priors[queries],
        own_logs=others.logs[queries],
        own_share=others.share[queries],
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Left-out entries as the model would predict them: which they are, log predictions and the prior's share; and
    the log errors of those that other specs of their workload predict.
    """

    entries: NDArray[np.int64]
    predicted: NDArray[np.float64]
    prior_share: NDArray[np.float64]
    of_revisions: NDArray[np.float64]


def climb_left_out(others: Others, metric: Metric, neighbours: int, neighbour_mass: float) -> tuple[Judged, Masses]:
    """Predict left-out entries rung by rung, choosing each rung's mass before the next is climbed."""
    queries = others.sample(MAX_ENTRIES)
    near, squared = others.near(queries, metric, neighbours)
    there = np.isfinite(squared)
    share, logs = np.where(there, others.share[near], 0.0), others.logs[near]
    measured, own_share = others.logs[queries], others.share[queries]
    climb = start(others.priors[queries], near.shape[1])
    weights = kernel(np.where(there, squared, 0.0)) * share
    climb.step(weights.sum(axis=1), (weights * logs).sum(axis=1), neighbour_mass)

    def rung(name: str, total: NDArray[np.float64], weighted: NDArray[np.float64]) -> float:
        mass = choose_mass(
            total, weighted, below=climb.logs, measured=measured, share=own_share, default=DEFAULT_MASS[name]
        )
        climb.step(total, weighted, mass)
        return mass

    image = rung("image", *_same_image(others, queries))
    alike = rung("alike", *_alike(others, metric, queries, near, share))
    predicted, prior_share = climb.logs, climb.prior_share
    total, weighted = _of_workload(others, queries)
    owner = rung("owner", total, weighted)
    of_revisions = (measured - climb.logs)[total > 0]
    judged = Judged(entries=queries, predicted=predicted, prior_share=prior_share, of_revisions=of_revisions)
    return judged, Masses(neighbours=neighbour_mass, image=image, alike=alike, owner=owner)


def _same_image(others: Others, queries: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and weighted logs of all entries with the same image in other groups."""
    keys = np.array([key or "" for key in others.entries.image_keys], dtype=object)
    _, image = np.unique(keys, return_inverse=True)
    _, both = np.unique(np.stack([image, others.groups]), axis=1, return_inverse=True)
    both = both.reshape(-1)  # the image within its group, which is taken away again
    known = keys[queries] != ""

    def of_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
        by_image, by_both = np.bincount(image, weights=values), np.bincount(both, weights=values)
        return np.where(known, by_image[image[queries]] - by_both[both[queries]], 0.0)

    total = of_others(others.share)
    total[total < 1e-9] = 0.0  # differences of sums are not quite zero
    return total, np.where(total > 0, of_others(others.share * others.logs), 0.0)


def _alike(
    others: Others, metric: Metric, queries: NDArray[np.int64], near: NDArray[np.int64], share: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and weighted logs of those neighbours that are the same software by their texts."""
    texts = metric.texts()
    if texts is None or not near.shape[1]:
        return np.zeros(len(queries)), np.zeros(len(queries))
    columns, unscale = texts
    _, image = np.unique(np.array([key or "" for key in others.entries.image_keys], dtype=object), return_inverse=True)
    kinds = np.array([same_kind(kind) for _, kind, _ in others.entries.workloads], dtype=object)
    known = np.array([bool(key) for key in others.entries.image_keys])[queries]
    same = (image[near] == image[queries, None]) & (kinds[near] == kinds[queries, None]) & known[:, None]
    row, place = np.nonzero(same & (share > 0))
    vectors = others.entries.vectors[:, columns] * (metric.scales()[columns] * unscale)
    apart = ((vectors[near[row, place]] - vectors[queries[row]]) ** 2).sum(axis=1, dtype=np.float64)
    weights = alike_kernel(apart) * share[row, place]
    total: NDArray[np.float64] = np.bincount(row, weights=weights, minlength=len(queries)).astype(np.float64)
    weighted = np.bincount(row, weights=weights * others.logs[near[row, place]], minlength=len(queries))
    total[total < 1e-6] = 0.0
    return total, np.where(total > 0, weighted, 0.0)


def _of_workload(others: Others, queries: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number and sum of logs of the workload's other entries: what its former specs would tell of a new one."""
    numbers: dict[Any, int] = {}
    workload = np.array([numbers.setdefault(w, len(numbers)) for w in others.entries.workloads], dtype=np.int64)
    count, sums = np.bincount(workload), np.bincount(workload, weights=others.logs)
    total = count[workload[queries]].astype(np.float64) - 1.0
    return total, np.where(total > 0, sums[workload[queries]] - others.logs[queries], 0.0)


def of_same_specs(
    spec_hashes: Sequence[str], power_w: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed log errors of entries that are predicted from those of the same spec in other workloads and clusters."""
    _, spec = np.unique(np.array(spec_hashes), return_inverse=True)
    shared = np.bincount(spec)[spec] > 1
    power_w, seconds, spec = power_w[shared], seconds[shared], spec[shared]
    other_s = np.bincount(spec, weights=seconds)[spec] - seconds
    other_ws = np.bincount(spec, weights=seconds * power_w)[spec] - seconds * power_w
    return to_log(power_w) - to_log(np.maximum(other_ws, 0.0) / np.maximum(other_s, 1e-9))


def similar_within(
    remote: NDArray[np.float64], errors: NDArray[np.float64], prior_errors: NDArray[np.float64]
) -> float:
    """The remoteness up to which left-out entries were, in sum, better off than with the prior; below 0 where
    neighbours are of no help at all.
    """
    order = np.argsort(remote, kind="stable")
    gains = np.cumsum((prior_errors**2 - errors**2)[order])
    best = int(gains.argmax()) if len(gains) else 0
    return float(remote[order][best]) if len(gains) and gains[best] > 0 else -1.0


def left_out_metrics(
    measured: NDArray[np.float64], predicted: NDArray[np.float64], similar: NDArray[np.bool_]
) -> dict[str, Any]:
    """How well left-out entries were predicted, in watts and in logs. The metric was chosen on them: see `evaluate`
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
        "left_out_log_r2": 1.0 - float(errors @ errors) / variance if variance > 1e-12 else None,
        "left_out_similar_share": float(similar.mean()),
    }
