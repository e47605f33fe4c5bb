"""Clusters: the keys, groups and places of the hourly assets that are made for each."""

import re
from dataclasses import dataclass

import dagster as dg

from podpower.clusters import configured_clusters
from podpower.errors import InvalidInput
from podpower.settings import Settings

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Cluster:
    """A cluster whose hourly assets are made. The first one has no name in front of its assets and tables, so that a
    platform which grows keeps its history; a further one has. One that has no meter has neither labels nor rows.
    """

    name: str = ""
    has_meter: bool = True

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInput(f"{self.name!r} is no name of a cluster: use a-z, 0-9 and -, at most 63 characters")

    def key(self, asset: str) -> dg.AssetKey:
        """Return the key of one of the cluster's assets.

        >>> Cluster("eu-2").key("features").to_user_string()
        'eu-2/features'
        """
        return dg.AssetKey([self.name, asset] if self.name else [asset])

    @property
    def group(self) -> str:
        """Return the group of the cluster's assets. That of the first one has what is one for all clusters too: the UI
        shows a single group unfolded.
        """
        return self._identifier or "podpower"

    def named(self, definition: str) -> str:
        """Return the name of a job, schedule or sensor of this cluster.

        >>> Cluster("eu-2").named("finished_hour")
        'finished_hour_eu_2'
        """
        return f"{definition}_{self._identifier}" if self.name else definition

    def place(self, root: str) -> str:
        """Return where the cluster keeps its part of what is kept in `root`."""
        return f"{root}/{self.name}" if self.name else root

    @property
    def _identifier(self) -> str:
        return self.name.replace("-", "_")


FIRST = Cluster()


def observed_clusters(given: Settings) -> list[Cluster]:
    """Return the clusters that the settings configure."""
    return [Cluster(one.prefix, has_meter=one.has_meter) for one in configured_clusters(given)]
