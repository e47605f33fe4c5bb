"""`encoder`, fitted once on the stored specs, and `features`, the vectors of the specs of each hour."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from podpower.errors import InvalidInput, Unavailable
from podpower.features.checks import VECTORS_ARE_FINITE, count_not_finite, vectors_are_finite
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.specs.table import requests_of
from podpower_assets.checks import check_results, check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.partitions import Partitions
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, FAILED_BEFORE, translate_errors
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME, ENCODER = "features", "encoder"
FITTED_HOURS = 168  # a week contains what runs daily and weekly


def encoder(clusters: Sequence[Cluster]) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""

    @dg.asset(
        owners=["team:podpower"],
        name=ENCODER,
        group_name="features",
        kinds={"numpy"},
        code_version="2",
        automation_condition=FAILED_BEFORE,
        deps=[dg.AssetDep(cluster.key(SPECS), partition_mapping=dg.AllPartitionMapping()) for cluster in clusters],
        description=(
            "The encoder of all features. Fitted once; fit it again on purpose only, and then backfill the features of "
            "the window that models train on: rows of another encoder are left out."
        ),
    )
    def asset(tables: Tables) -> dg.MaterializeResult:
        """Fit on the distinct specs of the latest hours."""
        with translate_errors():
            parts = [
                specs.select("_spec_hash", "workload_name", "request")
                for own in map(tables.of, clusters)
                for hour in own.partitions(SPECS)[-FITTED_HOURS:]
                if (specs := specs_of(own, hour)) is not None
            ]
            if not parts:
                raise Unavailable("no workload specs yet: materialize workload_specs first")
            specs = pl.concat(parts).unique(["_spec_hash", "workload_name"], maintain_order=True)
            fitted = Encoder.fit(requests_of(specs))
            tables.save_encoder(fitted)
        known = {"fingerprint": fitted.fingerprint, "dim": fitted.dim, "text": fitted.text, "fitted_on": len(specs)}
        return dg.MaterializeResult(metadata=known, data_version=dg.DataVersion(fitted.fingerprint))

    return asset


def features(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group("features"),
        kinds={"numpy", "parquet"},
        partitions_def=partitions.hours,
        code_version="2",
        automation_condition=FAILED_BEFORE,
        deps=[cluster.key(SPECS), ENCODER],
        check_specs=check_specs(
            cluster.key(NAME), blocking={VECTORS_ARE_FINITE: "Every value of every vector is a finite number."}
        ),
        description="One vector a spec of the hour, all of one encoder.",
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables) -> dg.MaterializeResult:
        """Encode the specs of each hour."""
        with translate_errors():
            fitted, own = tables.require_encoder(), tables.of(cluster)
            found = per_partition(context, own, lambda hour: _encode_hour(own, fitted, hour))
        check = vectors_are_finite(vectors=sum(count for count, _ in found), not_finite=sum(bad for _, bad in found))
        return dg.MaterializeResult(check_results=check_results([check]))

    return asset


def _encode_hour(tables: Tables, fitted: Encoder, hour: str) -> Partition[tuple[int, int]]:
    """Return the vectors of the hour's specs; finds how many there are, and how many are not finite."""
    specs = specs_of(tables, hour)
    if specs is None:
        raise InvalidInput(f"workload_specs {hour} is missing: materialize it first")
    requests = requests_of(specs)
    vectors = fitted.transform(requests)
    table = features_table(requests, vectors, encoder=fitted, observed_from_s=specs["observed_from_s"].to_list())
    known = {"encoder_fingerprint": fitted.fingerprint, "dim": fitted.dim}
    return Partition(table=table, metadata=known, found=(len(vectors), count_not_finite(vectors)))
