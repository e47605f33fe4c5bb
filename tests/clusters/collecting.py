"""A collector in this process: the watch of a fake cluster into a journal, which ends when it has caught up."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podpower.collector.journal import Journal
from podpower.collector.metrics import Metrics
from podpower.collector.watch import Watch
from podpower.io.files import AnyPath
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.list_watch import EVERYTHING, Selection
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.waiting import until


class Collector:
    """Collects a cluster into the journal at `url`. `notes` are what it reported."""

    def __init__(self, cluster: FakeCluster, url: AnyPath, folder: Path, *, selection: Selection = EVERYTHING) -> None:
        self.cluster, self.url, self._selection = cluster, url, selection
        self.access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(folder / "config", cluster.url))))
        self.notes: list[str] = []
        self.options: dict[str, float] = {}
        self.failed: list[BaseException] = []
        self.metrics = Metrics()

    @contextmanager
    def running(self, **options: float) -> Iterator[Journal]:
        """Collect within the block; an error of the collector is raised at its end."""
        self.failed = failed = []
        metrics = self.metrics = Metrics()
        opened = Journal.opened(
            self.url,
            cluster=self.access.cluster,
            note=self.notes.append,
            metrics=metrics,
            **{"flush_s": 0.05, **self.options, **options},
        )
        with opened as journal:
            loop, stop = asyncio.new_event_loop(), asyncio.Event()
            watch = Watch(
                access=self.access,
                selection=self._selection,
                sinks=[journal],
                note=self.notes.append,
                metrics=metrics,
                checkpoint_s=0.05,
            )

            def run() -> None:
                try:
                    loop.run_until_complete(watch.follow(stop))
                except BaseException as error:  # raised by the test
                    failed.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            try:
                yield journal
            finally:
                loop.call_soon_threadsafe(stop.set)
                thread.join(60)
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()
            if failed:
                raise failed[0]

    def metric(self, name: str) -> float:
        """Return the sum of a metric of the last watch over its labels."""
        found = [sample for family in self.metrics.registry.collect() for sample in family.samples]
        return sum(sample.value for sample in found if sample.name == name)

    def collect(self, **options: float) -> int:
        """Collect until the journal has everything that the cluster did; return the number of events."""
        with self.running(**options) as journal:
            self.catch_up(journal)
        return journal.events

    def catch_up(self, journal: Journal) -> None:
        """Wait until the watch has passed everything that the cluster did."""
        until(lambda: self.failed or (journal._streams and self.cluster.watches() >= len(journal._streams)))
        self.cluster.bookmark()
        reached = self.cluster.version
        until(lambda: self.failed or (journal.begun and all(int(v) >= reached for v in journal.versions.values())))
