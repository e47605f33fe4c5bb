"""Open the sources that the settings name: a recording, or a live cluster and its Prometheus."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.settings import RECORDING, ClusterSettings, Settings
from podpower.sources.prometheus.endpoint import Endpoint, endpoint_from
from podpower.sources.protocols import MetricSource, ObjectSource
from podpower.sources.recording import Recording

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Objects and samples of one cluster. `damaged` lists objects and lines that could not be read. `history_s` is how
    far back to look when the cluster is seen for the first time; a recording has its own start.
    """

    objects: ObjectSource
    metrics: MetricSource
    damaged: list[str]
    history_s: float = 0.0

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.objects.cluster


@contextmanager
def opened_sources(place: str, settings: Settings) -> Iterator[Sources]:
    """Open the live cluster where a Prometheus is set, with its journal in `place`; else the recording in `place`.

    Credentials are in `settings` only and stay out of every configuration that is stored.
    """
    endpoint = endpoint_from(settings.prometheus)
    if endpoint is None:
        recording = Recording(place)
        recording.cluster = settings.cluster.name or recording.cluster
        yield Sources(objects=recording, metrics=recording, damaged=recording.damaged)
        return
    with opened_live(place, endpoint, settings.cluster) as sources:
        yield sources


@contextmanager
def opened_live(place: str, endpoint: Endpoint, cluster: ClusterSettings) -> Iterator[Sources]:
    """Open the cluster of these settings and this Prometheus. Errors as `LiveObjects`."""
    from podpower.collector.live import LiveObjects  # noqa: PLC0415
    from podpower.kubernetes.kinds import OBSERVED, parse_kinds  # noqa: PLC0415
    from podpower.sources.kubernetes.access import cluster_config  # noqa: PLC0415  # an extra
    from podpower.sources.kubernetes.list_watch import Selection  # noqa: PLC0415
    from podpower.sources.prometheus.source import Prometheus  # noqa: PLC0415

    if "://" in place:
        raise InvalidInput(f"{RECORDING}={place}: what a live cluster does is kept in a local folder, not at a URL")
    more = parse_kinds([cluster.kinds])
    selection = Selection(
        kinds=tuple(dict.fromkeys((*OBSERVED, *more))),
        namespaces=cluster.namespaces,
        exclude=cluster.exclude_namespaces,
    )
    objects = LiveObjects(Path(place), cluster_config(cluster), selection)
    with Prometheus(endpoint, cluster=objects.cluster, note=_LOG.warning) as prometheus:
        history_s = cluster.history_hours * HOUR_S
        yield Sources(objects=objects, metrics=prometheus, damaged=objects.damaged, history_s=history_s)
