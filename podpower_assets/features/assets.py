"""`encoder`, fitted once on the specs there are, and `features`, the vectors of each hour's specs."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import polars as pl

from podpower.errors import InvalidInput, Unavailable
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.specs.table import requests_of
from podpower_assets import metadata
from podpower_assets.partitions import HOURLY
from podpower_assets.policies import COMMON, FAILED_BEFORE, deciding
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME, ENCODER = "features", "encoder"
FITTED_HOURS = 168  # a week shows what runs daily and weekly


@dg.asset(
    owners=["team:podpower"],
    name=ENCODER,
    group_name="features",
    kinds={"numpy"},
    code_version="2",
    automation_condition=FAILED_BEFORE,
    deps=[dg.AssetDep(SPECS, partition_mapping=dg.AllPartitionMapping())],
    description=(
        "The encoder of all features. Fitted once; fit it again on purpose only, and then backfill the features of the "
        "window that models train on: rows of another encoder are left out."
    ),
)
def encoder(tables: Tables) -> dg.MaterializeResult:
    """Fit on the distinct specs of the latest hours."""
    with deciding():
        stored = tables.partitions(SPECS)[-FITTED_HOURS:]
        parts = [
            specs.select("_spec_hash", "workload_name", "request")
            for hour in stored
            if (specs := specs_of(tables, hour)) is not None
        ]
        if not parts:
            raise Unavailable("no workload specs yet: materialize workload_specs first")
        specs = pl.concat(parts).unique(["_spec_hash", "workload_name"], maintain_order=True)
        fitted = Encoder.fit(requests_of(specs))
        tables.save_encoder(fitted)
    metadata = {"fingerprint": fitted.fingerprint, "dim": fitted.dim, "text": fitted.text, "fitted_on": len(specs)}
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(fitted.fingerprint))


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="features",
    kinds={"numpy", "parquet"},
    partitions_def=HOURLY,
    code_version="2",
    automation_condition=FAILED_BEFORE,
    deps=[SPECS, ENCODER],
    check_specs=[
        dg.AssetCheckSpec(
            "vectors_are_finite",
            asset=NAME,
            blocking=True,
            description="Every value of every vector is a finite number.",
        )
    ],
    description="One vector a spec of the hour, all of one encoder.",
)
def features(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[dg.MaterializeResult]:
    """Encode each hour's specs."""
    finite, rows = True, 0
    with deciding():
        fitted = tables.encoder()
        if fitted is None:
            raise Unavailable("no encoder yet: materialize `encoder` first")
        for hour in context.partition_keys:
            specs = specs_of(tables, hour)
            if specs is None:
                raise InvalidInput(f"workload_specs {hour} is missing: materialize it first")
            requests = requests_of(specs)
            vectors = fitted.transform(requests)
            table = features_table(
                requests, vectors, encoder=fitted, observed_from_s=specs["observed_from_s"].to_list()
            )
            tables.write(NAME, hour, table)
            finite, rows = finite and bool(np.isfinite(vectors).all()), rows + len(table)
            said = {**metadata.table_metadata(table), "encoder_fingerprint": fitted.fingerprint, "dim": fitted.dim}
            context.add_asset_metadata(said, partition_key=hour)
    check = dg.AssetCheckResult(check_name="vectors_are_finite", passed=finite, metadata={"vectors": rows})
    yield dg.MaterializeResult(check_results=[check])
