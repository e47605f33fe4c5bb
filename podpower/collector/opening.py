"""Open the sources that the settings name: a recording, or the journal of a live cluster and its Prometheus."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from podpower.settings import Settings
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.reader import JournalReader
from podpower.sources.no_samples import NoSamples
from podpower.sources.prometheus.endpoint import Endpoint, endpoint_from
from podpower.sources.protocols import MetricSource, ObjectSource
from podpower.sources.recording import Recording

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Objects and samples of one cluster. `damaged` lists objects and lines that could not be read. `history_s` is how
    far back to look when the cluster is seen for the first time; a recording has its own start. Labels of
    `exclude_namespaces` are not kept.
    """

    objects: ObjectSource
    metrics: MetricSource
    damaged: list[str]
    history_s: float = 0.0
    exclude_namespaces: tuple[str, ...] = ()
    journal: JournalReader | None = None

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.objects.cluster

    def stale(self) -> str | None:
        """Return a sentence where the objects are of a journal that nobody has written for two minutes; else None."""
        return self.journal.stale() if self.journal else None

    def gap_seconds(self, *, start_s: float, end_s: float) -> float:
        """Return the seconds within [start_s, end_s) in which changes of objects could not be seen."""
        gaps = self.journal.gaps(start_s=start_s, end_s=end_s) if self.journal else []
        seconds, reached_s = 0.0, start_s
        for gap in gaps:  # they overlap: each stream has its own
            until_s = min(gap.end_s, end_s)
            seconds += max(0.0, until_s - max(reached_s, gap.start_s))
            reached_s = max(reached_s, until_s)
        return seconds


@contextmanager
def opened_sources(place: str, settings: Settings) -> Iterator[Sources]:
    """Open the journal of a live cluster in `place` and its Prometheus where one is set; else the recording in `place`.
    A journal without a Prometheus has no samples: the cluster has no meter.

    Credentials are in `settings` only and stay out of every configuration that is stored.
    """
    endpoint, excluded = endpoint_from(settings.prometheus), settings.cluster.exclude_namespaces
    if endpoint is None and JournalFiles(place).meta() is None:
        recording = Recording(place)
        recording.cluster = settings.cluster.name or recording.cluster
        yield Sources(objects=recording, metrics=recording, damaged=recording.damaged, exclude_namespaces=excluded)
        return
    journal = JournalReader(place)
    journal.cluster = settings.cluster.name or journal.cluster
    with _samples(endpoint, journal.cluster) as samples:
        yield Sources(
            objects=journal,
            metrics=samples,
            damaged=journal.damaged,
            history_s=settings.history_s,
            exclude_namespaces=excluded,
            journal=journal,
        )


def _samples(endpoint: Endpoint | None, cluster: str) -> AbstractContextManager[MetricSource]:
    if endpoint is None:
        return nullcontext(NoSamples(cluster))
    from podpower.sources.prometheus.source import Prometheus  # noqa: PLC0415  # an extra

    return Prometheus(endpoint, cluster=cluster, note=_LOG.warning)
