"""`encoder`, fitted once on the stored specs, and `features`, the vectors of the specs of each hour."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from podpower.errors import Unavailable
from podpower.features.checks import VECTORS_ARE_FINITE, count_not_finite, vectors_are_finite
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.specs.table import requests_of
from podpower_assets.automation import Remake
from podpower_assets.checks import ENCODER_IS_WHOLE, check_specs
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.partitions import Partitions
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, translate_errors
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import require_specs, specs_of
from podpower_assets.upstream import Upstream

NAME, ENCODER = "features", "encoder"
_WHOLE = "The encoder is there, and has the bytes that were written."
FITTED_HOURS = 168  # a week contains what runs daily and weekly


def encoder(clusters: Sequence[Cluster]) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""

    @dg.asset(
        owners=["team:podpower"],
        name=ENCODER,
        group_name=FIRST.group,
        kinds={"numpy"},
        code_version="2",
        automation_condition=Remake(upstream=Upstream(), lookback_days=1),
        deps=[dg.AssetDep(cluster.key(SPECS), partition_mapping=dg.AllPartitionMapping()) for cluster in clusters],
        check_specs=[dg.AssetCheckSpec(ENCODER_IS_WHOLE, asset=ENCODER, description=_WHOLE)],
        description=(
            "The encoder of all features. Fitted once; fit it again on purpose only: the features and rows of the days "
            "that models train on are then made again, and rows of another encoder are left out."
        ),
    )
    def asset(tables: Tables) -> dg.MaterializeResult:
        """Fit on the distinct specs of the latest hours."""
        with translate_errors():
            parts = [
                specs.select("_spec_hash", "workload_name", "request")
                for own in map(tables.of, clusters)
                for hour in own.partitions(SPECS)[-FITTED_HOURS:]
                if (specs := specs_of(own, hour, if_whole=True)) is not None
            ]
            if not parts:
                raise Unavailable("no workload specs yet: materialize workload_specs first")
            specs = pl.concat(parts).unique(["_spec_hash", "workload_name"], maintain_order=True)
            fitted = Encoder.fit(requests_of(specs))
            tables.save_encoder(fitted)
        known = {"fitted_on": len(specs), "dim": fitted.dim, "text": fitted.text, "fingerprint": fitted.fingerprint}
        check = dg.AssetCheckResult(passed=True, check_name=ENCODER_IS_WHOLE)
        return dg.MaterializeResult(
            metadata=known, data_version=dg.DataVersion(fitted.fingerprint), check_results=[check]
        )

    return asset


def features(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""
    upstream = Upstream(same=(cluster.key(SPECS),), whole=(dg.AssetKey(ENCODER),))

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group,
        kinds={"numpy", "parquet"},
        partitions_def=partitions.hours,
        code_version="2",
        automation_condition=Remake(upstream=upstream, lookback_days=partitions.lookback_days),
        deps=[cluster.key(SPECS), ENCODER],
        check_specs=check_specs(
            cluster.key(NAME),
            partitions.hours,
            table=True,
            blocking={VECTORS_ARE_FINITE: "Every value of every vector is a finite number."},
        ),
        description="One vector a spec of the hour, all of one encoder.",
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[Any]:
        """Encode the specs of each hour."""
        own = tables.of(cluster)
        with translate_errors():
            yield from per_partition(context, own, upstream, partial(_encode_hour, own, tables.require_encoder()))

    return asset


def _encode_hour(tables: Tables, fitted: Encoder, hour: str) -> Partition:
    """Return the vectors of the hour's specs."""
    specs = require_specs(tables, hour)
    requests = requests_of(specs)
    vectors = fitted.transform(requests)
    table = features_table(requests, vectors, encoder=fitted, observed_from_s=specs["observed_from_s"].to_list())
    not_finite = count_not_finite(vectors)
    known = {
        "vectors": len(vectors),
        "dim": fitted.dim,
        "not_finite": not_finite,
        "encoder_fingerprint": fitted.fingerprint,
    }
    check = vectors_are_finite(vectors=len(vectors), not_finite=not_finite)
    return Partition(table=table, metadata=known, checks=lambda: [check])
