"""All choices of a training on left-out entries, in their order: metric (`podpower.training.metric`), pseudo-counts,
intervals, factors of means, cluster effects.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import MeasuredEntries
from podpower.model.estimator import Estimator
from podpower.model.expected import MeanFactors, fit_mean_factors
from podpower.model.intervals import SOURCES, UNKNOWN_WIDENING, Intervals, Source, fit_intervals, fit_widening
from podpower.model.metric import Metric
from podpower.model.partial_pooling import PseudoCounts, remoteness
from podpower.model.prior import left_out_priors
from podpower.model.scale import from_log, to_log
from podpower.model.search import EXACT_ENTRIES, InvertedFile, Search
from podpower.training.cluster_effects import fit_cluster_effects
from podpower.training.groups import linked_groups
from podpower.training.ivf import make_search
from podpower.training.leave_out import (
    known_specs,
    left_out_metrics,
    nearest_left_out,
    new_specs,
    new_workloads,
    similar_within,
)
from podpower.training.metric import DEFAULT_PSEUDO_COUNTS, learn_metric

_EQUAL = 1e-9  # of log power


def all_equal(logs: NDArray[np.float64]) -> bool:
    """Return whether all labels are the same, up to rounding."""
    return bool(np.ptp(logs) < _EQUAL)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Choices of training."""

    metric: Metric
    pseudo_counts: PseudoCounts
    similar_within: float
    intervals: Intervals
    mean_factors: MeanFactors
    cluster_effects: dict[str, float]
    metrics: dict[str, object]
    inverted_file: InvertedFile | None


def learn(
    entries: MeasuredEntries, seen: NDArray[np.float64], metric: Metric, *, target: str, neighbours: int
) -> Learned:
    """Return everything that is chosen on entries left out; `seen` are the residuals of periods against those before.

    The metric is chosen for the target; everything after it for power, which is what intervals are of. Above
    EXACT_ENTRIES it is chosen with the approximate search that is served. The effects of clusters need a model without
    them, and all that is chosen is chosen again with them.
    """
    groups, logs = linked_groups(entries.workloads, entries.spec_hashes), to_log(entries.power_w)
    if int(groups.max()) == 0 or all_equal(logs):  # nothing remains without it, or nothing to be learned
        return _unlearned(entries, seen, metric)
    priors = _priors(entries, logs, groups)
    metric, neighbour_count = _learned_metric(entries, groups, priors, metric, target=target)
    inverted_file, search = _approximate(entries, metric)
    estimator = Estimator(entries, metric=metric, neighbours=neighbours, search=search)
    learned = _pooled(estimator, groups, priors, seen, neighbour_count)
    effects = fit_cluster_effects(estimator, priors, learned.pseudo_counts, learned.intervals.widening)
    if effects:
        estimator = estimator.with_effects(effects)
        priors = _priors(entries, estimator.logs, groups)
        learned = replace(_pooled(estimator, groups, priors, seen, neighbour_count), cluster_effects=effects)
    return replace(learned, inverted_file=inverted_file)


def _approximate(entries: MeasuredEntries, metric: Metric) -> tuple[InvertedFile | None, Search | None]:
    """Return an inverted file and its search of many entries."""
    return make_search(entries.vectors, metric.scales()) if len(entries) > EXACT_ENTRIES else (None, None)


def _pooled(
    estimator: Estimator,
    groups: NDArray[np.int64],
    priors: NDArray[np.float64],
    seen: NDArray[np.float64],
    neighbour_count: float,
) -> Learned:
    """Return the choices after the metric: pseudo-counts, intervals and factors of means."""
    entries, logs = estimator.entries, estimator.logs
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
    return Learned(
        metric=estimator.metric,
        pseudo_counts=pseudo_counts,
        similar_within=within,
        intervals=fit_intervals(
            residuals, widening=widening, typical=typical, familiar=errors[new.familiar] / widening.expected[0]
        ),
        mean_factors=fit_mean_factors(
            from_log(new.predicted), from_log(measured), entries.share[new.entries], new.familiar
        ),
        cluster_effects={},
        metrics=left_out_metrics(measured, new.predicted, similar),
        inverted_file=None,
    )


def _priors(entries: MeasuredEntries, logs: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    return left_out_priors(to_log(entries.physical_power_w), entries.controllers, logs, entries.share, groups)


def _learned_metric(
    entries: MeasuredEntries,
    groups: NDArray[np.int64],
    priors: NDArray[np.float64],
    metric: Metric,
    *,
    target: str,
) -> tuple[Metric, float]:
    values = to_log(entries.power_w)
    if target == "total_energy_j":
        at = np.flatnonzero(~np.isnan(entries.total_energy_j))
        entries, groups = entries.take(at), groups[at]
        values = np.log1p(entries.total_energy_j)
        priors = _priors(entries, values, groups)
    return learn_metric(nearest_left_out(entries, metric, groups, values, priors), metric)


def _unlearned(entries: MeasuredEntries, seen: NDArray[np.float64], metric: Metric) -> Learned:
    """Return defaults, with assumed errors."""
    residuals: dict[Source, NDArray[np.float64]] = dict.fromkeys(SOURCES, np.zeros(0))
    residuals["seen"] = seen
    estimator = Estimator(entries, metric=metric, neighbours=1)
    priors = np.full(len(entries), to_log(entries.power_w).mean())
    elsewhere, _ = known_specs(estimator, priors, DEFAULT_PSEUDO_COUNTS)
    errors = to_log(entries.power_w)[elsewhere.entries] - elsewhere.predicted
    residuals["elsewhere"] = errors / UNKNOWN_WIDENING.expected[0]
    return Learned(
        metric=metric,
        pseudo_counts=DEFAULT_PSEUDO_COUNTS,
        similar_within=1.0,
        intervals=fit_intervals(residuals, widening=UNKNOWN_WIDENING),
        mean_factors=MeanFactors(),
        cluster_effects={},
        metrics={"left_out_entries": 0},
        inverted_file=_approximate(entries, metric)[0],
    )
