"""Labels that Kepler's series must have; errors that name those which a relabelling rule of Prometheus took away."""

from collections.abc import Collection, Mapping

import polars as pl

from podpower.errors import InvalidInput
from podpower.labels.kepler import PSEUDO_PODS, Generation
from podpower.sources.protocols import LABEL_COLUMNS

FIX = (
    "a relabelling rule of Prometheus renamed or dropped it: keep the labels of Kepler's series "
    "(metric_relabel_configs, or metricRelabelings and honorLabels of its ServiceMonitor)"
)
_SHOWN = 30  # labels named in a message


class MissingLabels(InvalidInput):
    """Series of Kepler's pods lack a label without which their energy belongs to nobody, or is counted twice."""


def missing_labels(generation: Generation, metric: str, found: Collection[str]) -> list[str]:
    """Return the labels that the series of `metric` need and none of them has."""
    return [label for label in _needed(generation, metric) if label not in found]


def described_missing(metric: str, missing: Collection[str], found: Collection[str]) -> str:
    """Return a sentence that names the missing labels and those that the series have."""
    labels = sorted(set(found) - {"__name__"})
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    plural = "s" if len(missing) > 1 else ""
    return (
        f"series of {metric} have no label{plural} {' and '.join(missing)} (their labels: "
        f"{', '.join(labels[:_SHOWN]) or 'none'}{more})"
    )


def check_labels(
    series: pl.DataFrame, generation: Generation, label_names: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """Return warnings about pods' series that lack a needed label; MissingLabels where all of a metric lack one.

    `label_names` are all labels of each metric's series, where they are known.
    """
    warnings = []
    own = series.filter(~pl.col(generation.pod_label).is_in(PSEUDO_PODS).fill_null(False))  # polars
    for metric in filter(None, (generation.total, *generation.components)):
        of_metric = own.filter(pl.col("metric") == metric)
        lacking = of_metric.select(pl.col(*_needed(generation, metric)).null_count()).row(0, named=True)
        missing = [label for label, count in lacking.items() if count == len(of_metric)]
        if of_metric.is_empty():
            continue
        if missing:
            present = (column for column in LABEL_COLUMNS if of_metric[column].null_count() < len(of_metric))
            found = label_names.get(metric) or frozenset(present)
            raise MissingLabels(f"{described_missing(metric, missing, found)}: {FIX}")
        warnings += [
            f"{count} of {len(of_metric)} series of {metric} have no label {label} and are left out"
            for label, count in lacking.items()
            if count and label in {generation.pod_label, generation.namespace_label}
        ]
    return tuple(warnings)


def _needed(generation: Generation, metric: str) -> tuple[str, ...]:
    """Return the labels by which a pod's energy is found: whose it is, and which part of it a series counts."""
    named = (generation.pod_label, generation.namespace_label)
    if generation.has_modes:
        return (*named, "mode")
    return (*named, "zone") if metric == generation.components[0] else named
