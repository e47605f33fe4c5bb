"""While samples or owners are used, the next ones are fetched."""

import threading
from collections.abc import Sequence

import polars as pl

from podpower.labels.owners import OWNER_METRICS, Owning
from podpower.labels.reading import prefetched
from podpower.sources.protocols import POINTS_SCHEMA, SERIES_SCHEMA, MetricSamples, Selector, SeriesFound

WAIT_S = 20.0


class Source:
    """A source that waits for the test in every fetch after the first, and in every query of series."""

    cluster = None

    def __init__(self) -> None:
        self.together = threading.Barrier(3, timeout=WAIT_S)  # two fetches and the test
        self.asked = threading.Semaphore(0)
        self.queried: list[list[str]] = []

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:
        return frozenset(OWNER_METRICS)

    def samples(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> MetricSamples:
        if start_s > 0:
            self.together.wait()
        points = pl.DataFrame({"series_id": [1], "ts": [start_s], "value": [1.0]}, schema=POINTS_SCHEMA)
        return MetricSamples(series=pl.DataFrame(schema=SERIES_SCHEMA), points=points)

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:
        self.queried.append([selector.metric for selector in selectors])
        self.asked.release()
        owned = {
            "series_id": 1,
            "metric": "kube_pod_owner",
            "namespace": "shop",
            "pod": "web-1",
            "owner_kind": "DaemonSet",
            "owner_name": "web",
        }
        return SeriesFound(table=pl.DataFrame([owned], schema=SERIES_SCHEMA))


def test_the_next_two_ranges_are_fetched_while_one_is_used() -> None:
    source = Source()
    fetched = prefetched(source, iter([([], float(number), number + 1.0) for number in range(3)]))
    first = next(fetched)
    source.together.wait()  # BrokenBarrierError where they come one after the other
    assert [samples.points["ts"][0] for samples in (first, *fetched)] == [0.0, 1.0, 2.0]


def test_fetching_begins_before_anything_is_used() -> None:
    source = Source()
    fetched = prefetched(source, iter([([], 1.0, 2.0), ([], 2.0, 3.0)]))
    source.together.wait()
    assert len(list(fetched)) == 2


def test_owners_that_are_queried_ahead_are_queried_once() -> None:
    source = Source()
    owning = Owning(source, None, source.metric_names(start_s=0.0, end_s=1.0), owner_source="prom")
    owning.ahead(start_s=3600.0, end_s=4800.0, step_seconds=60.0)
    owning.ahead(start_s=4800.0, end_s=6000.0, step_seconds=60.0)
    assert source.asked.acquire(timeout=WAIT_S)
    steps = pl.DataFrame({"namespace": ["shop", "shop"], "pod": ["web-1", "other"], "ts": [3660.0, 3660.0]})
    owned, _ = owning.of(steps, start_s=3600.0, end_s=4800.0, step_seconds=60.0)
    assert owned["workload_name"].to_list() == ["web", "other"]
    assert source.queried == [list(OWNER_METRICS)]
