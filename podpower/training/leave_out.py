"""Entries predicted by the model's estimator without their own group: what training chooses and is judged by.

Three questions, one grouping each: a new workload (neither its workload nor its spec is known), a new spec of a known
workload, and a known spec in a new place.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import MeasuredEntries
from podpower.model.estimator import Estimator, is_familiar, numbered
from podpower.model.metric import Metric
from podpower.model.partial_pooling import LEVELS, Level, PseudoCounts
from podpower.model.scale import from_log
from podpower.model.search import exact_near
from podpower.training.metric import DEFAULT_PSEUDO_COUNTS, NearestLeftOut, choose_pseudo_count

MAX_ENTRIES = 2000  # predicted from all others: enough to choose and to judge by
FIT_ENTRIES, FIT_NEIGHBOURS = 500, 256  # of these the metric is learned


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Entries predicted without their group: their positions, log predictions up to the last level, the prior's share
    in them, and whether the same software was measured elsewhere.
    """

    entries: NDArray[np.int64]
    predicted: NDArray[np.float64]
    prior_share: NDArray[np.float64]
    familiar: NDArray[np.bool_]


def evenly(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the positions, spread evenly."""
    count = len(positions)
    return positions if count <= most else positions[np.linspace(0, count - 1, most).astype(np.int64)]


def nearest_left_out(
    entries: MeasuredEntries,
    metric: Metric,
    groups: NDArray[np.int64],
    values: NDArray[np.float64],
    priors: NDArray[np.float64],
) -> NearestLeftOut:
    """Return the data that the metric is learned from: entries with their nearest by the initial `metric`."""
    blocks = metric.blocks
    queries = evenly(np.arange(len(entries)), FIT_ENTRIES)
    vectors = entries.vectors
    near, squared = exact_near(
        vectors, metric.scales(), vectors[queries], FIT_NEIGHBOURS, groups=groups, own_groups=groups[queries]
    )
    there, ends = np.isfinite(squared), np.cumsum(blocks)
    apart = np.zeros((len(ends), *near.shape))
    for block, (first, last) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
        for row in range(0, len(queries), 64):  # a few at a time: differences are as large as all their vectors
            part = slice(row, row + 64)
            differences = vectors[near[part], first:last] - vectors[queries[part], None, first:last]
            apart[block, part] = np.einsum("qkd,qkd->qk", differences, differences, dtype=np.float64)
    return NearestLeftOut(
        apart=apart,
        share=np.where(there, entries.share[near], 0.0),
        logs=np.where(there, values[near], 0.0),
        prior=priors[queries],
        own_logs=values[queries],
        own_share=entries.share[queries],
    )


def new_workloads(
    estimator: Estimator, groups: NDArray[np.int64], priors: NDArray[np.float64], neighbours: float
) -> tuple[LeftOut, dict[Level, float]]:
    """Return entries predicted without their workload and spec, and the pseudo-counts chosen on them; that of
    `neighbours` was learned with the metric.
    """
    queries = evenly(np.arange(len(estimator.entries)), MAX_ENTRIES)
    return _predicted(
        estimator, queries, groups, priors, fixed=DEFAULT_PSEUDO_COUNTS | {"neighbours": neighbours},
        chosen=("image", "software", "alike"),
    )  # fmt: skip


def new_specs(
    estimator: Estimator, priors: NDArray[np.float64], pseudo_counts: PseudoCounts
) -> tuple[LeftOut, dict[Level, float]]:
    """Return entries of workloads with several specs, predicted without their spec; and with it the level `owner`."""
    workload = numbered(zip(estimator.entries.clusters, estimator.entries.workloads, strict=True))
    queries = evenly(np.flatnonzero(np.bincount(workload)[workload] > 1), MAX_ENTRIES)
    specs = numbered(estimator.entries.spec_hashes)
    return _predicted(estimator, queries, specs, priors, fixed=pseudo_counts, chosen=("owner",))


def known_specs(
    estimator: Estimator, priors: NDArray[np.float64], pseudo_counts: PseudoCounts
) -> tuple[LeftOut, dict[Level, float]]:
    """Return entries whose spec runs in several workloads or clusters, predicted without their own workload; and with
    it the level `elsewhere`.
    """
    specs = numbered(estimator.entries.spec_hashes)
    queries = evenly(np.flatnonzero(np.bincount(specs)[specs] > 1), MAX_ENTRIES)
    places = numbered(zip(estimator.entries.clusters, estimator.entries.workloads, strict=True))
    return _predicted(estimator, queries, places, priors, fixed=pseudo_counts, chosen=("elsewhere",))


def predicted_without(
    estimator: Estimator,
    queries: NDArray[np.int64],
    groups: NDArray[np.int64],
    priors: NDArray[np.float64],
    pseudo_counts: PseudoCounts,
) -> LeftOut:
    """Return entries at `queries` predicted without their group."""
    left_out, _ = _predicted(estimator, queries, groups, priors, fixed=pseudo_counts, chosen=())
    return left_out


def _predicted(
    estimator: Estimator,
    queries: NDArray[np.int64],
    groups: NDArray[np.int64],
    priors: NDArray[np.float64],
    *,
    fixed: PseudoCounts,
    chosen: tuple[Level, ...],
) -> tuple[LeftOut, dict[Level, float]]:
    """Pool level by level; the pseudo-counts of those in `chosen` are chosen before the next level is added."""
    entries, pseudo_counts = estimator.entries.take(queries), dict(fixed)
    _, _, levels = estimator.leaving_out(groups).evidence(entries.specs, groups[queries])
    pooled = estimator.pooled(priors[queries], levels, pseudo_counts, upto=())
    for level in LEVELS:
        if level in chosen:
            pseudo_counts[level] = choose_pseudo_count(
                levels[level],
                before=pooled.logs,
                measured=estimator.logs[queries],
                share=entries.share,
                default=DEFAULT_PSEUDO_COUNTS[level],
            )
        pooled.add(levels[level], pseudo_counts[level])
    left_out = LeftOut(
        entries=queries, predicted=pooled.logs, prior_share=pooled.prior_share, familiar=is_familiar(levels)
    )
    return left_out, pseudo_counts


def similar_within(
    remote: NDArray[np.float64], errors: NDArray[np.float64], prior_errors: NDArray[np.float64]
) -> float:
    """Return the remoteness up to which left-out entries were, in sum, better off than with the prior; below 0 where
    neighbours are of no help at all.
    """
    order = np.argsort(remote, kind="stable")
    gains = np.cumsum((prior_errors**2 - errors**2)[order])
    best = int(gains.argmax()) if len(gains) else 0
    return float(remote[order][best]) if len(gains) and gains[best] > 0 else -1.0


def left_out_metrics(
    measured: NDArray[np.float64], predicted: NDArray[np.float64], similar: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the errors of left-out entries in watts and in logs. The metric was chosen on them: see `evaluate` for
    figures on workloads that had no part in that.
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
