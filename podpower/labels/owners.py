"""Which workload a pod belonged to at a time: from the objects, else from owner series, else itself."""

from typing import Literal

import polars as pl

from podpower.labels.counters import ENDED_AFTER_S
from podpower.sources.protocols import MetricSamples

OwnerSource = Literal["prom", "k8s", "auto"]
OWNER_METRICS = ("kube_pod_owner", "kube_replicaset_owner", "kube_job_owner")

OWNERS_SCHEMA = pl.Schema(
    {
        "namespace": pl.String(),
        "pod": pl.String(),
        "from_s": pl.Float64(),
        "to_s": pl.Float64(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "_spec_hash": pl.String(),
    }
)


def owners_from_specs(specs: pl.DataFrame) -> pl.DataFrame:
    """Pods of the `workload_specs` table with their lives, in OWNERS_SCHEMA."""
    exploded = specs.explode("pods").drop_nulls("pods")
    return exploded.select(
        "namespace",
        pl.col("pods").struct.field("pod"),
        pl.col("pods").struct.field("from_s"),
        pl.col("pods").struct.field("to_s"),
        "workload_kind",
        "workload_name",
        "_spec_hash",
    ).cast(OWNERS_SCHEMA)


def owners_from_series(samples: MetricSamples) -> pl.DataFrame:
    """Pods and their top owners from kube_pod_owner, kube_replicaset_owner and kube_job_owner, in OWNERS_SCHEMA.

    A series tells of the time between its first and last sample, so that a reused name has one owner at a time.
    """
    lives = samples.points.group_by("series_id").agg(
        pl.col("ts").min().alias("from_s"), pl.col("ts").max().alias("to_s")
    )
    series = samples.series.join(lives, on="series_id")
    series = series.filter(pl.col("owner_is_controller").is_null() | (pl.col("owner_is_controller") != "false"))
    owned = pl.col("owner_kind").is_not_null() & ~pl.col("owner_kind").is_in(["", "<none>"])
    pods = series.filter(pl.col("metric") == "kube_pod_owner").select(
        "namespace",
        "pod",
        "from_s",
        "to_s",
        pl.when(owned).then("owner_kind").otherwise(pl.lit("Pod")).alias("workload_kind"),
        pl.when(owned).then("owner_name").otherwise("pod").alias("workload_name"),
    )
    for metric, kind, label in (
        ("kube_replicaset_owner", "ReplicaSet", "replicaset"),
        ("kube_job_owner", "Job", "job_name"),
    ):
        above = (
            series.filter((pl.col("metric") == metric) & owned)
            .sort("to_s")
            .unique(["namespace", label], keep="last", maintain_order=True)
            .select(
                "namespace",
                pl.lit(kind).alias("workload_kind"),
                pl.col(label).alias("workload_name"),
                pl.col("owner_kind").alias("above_kind"),
                pl.col("owner_name").alias("above_name"),
            )
        )
        pods = (
            pods.join(above, on=["namespace", "workload_kind", "workload_name"], how="left")
            .with_columns(
                pl.coalesce("above_kind", "workload_kind").alias("workload_kind"),
                pl.coalesce("above_name", "workload_name").alias("workload_name"),
            )
            .drop("above_kind", "above_name")
        )
    pods = pods.with_columns(pl.col("to_s") + ENDED_AFTER_S, pl.lit(None, dtype=pl.String).alias("_spec_hash"))
    return pods.select(OWNERS_SCHEMA.names()).cast(OWNERS_SCHEMA)


def with_owners(steps: pl.DataFrame, *, owners: list[pl.DataFrame], step_seconds: float) -> pl.DataFrame:
    """Steps (`namespace`, `pod`, `ts`, ...) with the workload of their pod as of the step and its `_spec_hash`.

    The first of `owners` that knows the pod at the time decides; a pod that none knows is its own workload.
    """
    found = steps.sort("ts")
    columns = ("workload_kind", "workload_name", "_spec_hash")
    for number, table in enumerate(owners):
        names = {c: f"{c}_{number}" for c in columns}
        known = table.sort("from_s").rename({**names, "to_s": "to_s_known"})
        found = found.join_asof(
            known, left_on="ts", right_on="from_s", by=["namespace", "pod"], strategy="backward", check_sortedness=False
        )
        alive = pl.col("to_s_known").is_null() | (pl.col("to_s_known") > pl.col("ts") - step_seconds)
        found = found.with_columns(pl.when(alive).then(name).alias(name) for name in names.values())
        found = found.drop("from_s", "to_s_known")
    kinds = [f"workload_kind_{n}" for n in range(len(owners))]
    merged = found.with_columns(
        pl.coalesce(*kinds, pl.lit("Pod")).alias("workload_kind"),
        pl.coalesce(*(f"workload_name_{n}" for n in range(len(owners))), "pod").alias("workload_name"),
        pl.coalesce(*(f"_spec_hash_{n}" for n in range(len(owners))), pl.lit(None, dtype=pl.String)).alias(
            "_spec_hash"
        ),
    )
    return merged.drop(*(f"{c}_{n}" for c in columns for n in range(len(owners))))
