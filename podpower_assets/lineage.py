"""External assets: the sources that the platform reads and the service that reads what it makes.

The lineage shows them beside the assets. No materialization is recorded of them, so that they start and block nothing.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from podpower_assets.clusters import FIRST, Cluster

JOURNAL, PROMETHEUS, SERVICE = "cluster_journal", "prometheus", "prediction_service"


def external_assets(clusters: Sequence[Cluster], *, served: Sequence[dg.AssetKey]) -> Iterator[dg.AssetSpec]:
    """Yield the sources of each cluster, and the prediction service, which reads the `served` assets."""
    for cluster in clusters:
        yield dg.AssetSpec(
            cluster.key(JOURNAL),
            group_name=cluster.group,
            kinds={"kubernetes"},
            owners=["team:podpower"],
            description="Workloads and pods as the collector observes them, in the journal; without a live cluster, "
            "in a recording.",
        )
        if cluster.has_meter:
            yield dg.AssetSpec(
                cluster.key(PROMETHEUS),
                group_name=cluster.group,
                kinds={"prometheus"},
                owners=["team:podpower"],
                description="Energy counters of Kepler in Prometheus; without one, in a recording.",
            )
    yield dg.AssetSpec(
        SERVICE,
        group_name=FIRST.group,
        kinds={"http"},
        owners=["team:podpower"],
        deps=served,
        description="The HTTP API. It loads each promoted model and each fleet summary without a restart.",
    )
