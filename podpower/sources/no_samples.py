"""The samples of a cluster without a Prometheus: none."""

from collections.abc import Sequence

import polars as pl

from podpower.sources.protocols import POINTS_SCHEMA, SERIES_SCHEMA, MetricSamples, Selector, SeriesFound


class NoSamples:
    """A MetricSource of a cluster that nothing measures."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:  # noqa: ARG002
        """Return no name."""
        return frozenset()

    def samples(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> MetricSamples:  # noqa: ARG002
        """Return no sample."""
        return MetricSamples(series=pl.DataFrame(schema=SERIES_SCHEMA), points=pl.DataFrame(schema=POINTS_SCHEMA))

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:  # noqa: ARG002
        """Return no series."""
        return SeriesFound(table=pl.DataFrame(schema=SERIES_SCHEMA))
