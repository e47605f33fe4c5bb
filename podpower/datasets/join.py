"""Training rows: each label with the one spec that was in force at its step, and what did not join."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from podpower.datasets.hash_versions import VERSION_COLUMN, older_hashes
from podpower.datasets.renewal import is_older, with_version
from podpower.errors import InvalidInput

WORKLOAD = ("namespace", "workload_kind", "workload_name")
# What a row takes from its spec, and its type where an older table of features does not have it.
FROM_SPEC = {
    "_spec_hash": pl.String(),
    VERSION_COLUMN: pl.Int64(),
    "encoder_fingerprint": pl.String(),
    "image_key": pl.String(),
    "physical_power_w": pl.Float64(),
    "feature_blocks": pl.List(pl.Int64()),
    "vec_len": pl.Int64(),
    "features": pl.List(pl.Float32()),
}

NO_SPEC = "no_spec"  # no spec of this workload, nor of a pod of this name
NOT_YET_OBSERVED = "spec_not_yet_observed"  # the workload's first spec is younger than the label
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class JoinReport:
    """Counts of one join; `examples` names some workloads a reason."""

    labels: int
    joined: int
    unjoined: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    specs: int = 0
    specs_without_labels: int = 0
    older_specs: int = 0
    older_labels: int = 0

    @property
    def join_rate(self) -> float | None:
        """The share of labels that joined; None without labels."""
        return self.joined / self.labels if self.labels else None

    def __str__(self) -> str:
        parts = [f"{self.joined} of {self.labels} labels joined"]
        for reason, count in self.unjoined.items():
            parts.append(f"{count} {reason} (e.g. {', '.join(self.examples[reason])})")
        return "; ".join([*parts, f"{self.specs_without_labels} of {self.specs} specs have no label"])

    def warnings(self, *, features: str, labels: str) -> list[str]:
        """Return messages about spec hashes of an older version in the two files."""
        counts = (
            (features, self.older_specs, self.specs, "podpower encode transform"),
            (labels, self.older_labels, self.labels, "podpower label"),
        )
        return [
            f"{name}: {older_hashes(count, total, command=command)}" for name, count, total, command in counts if count
        ]


@dataclass(frozen=True, kw_only=True)
class JoinedRows:
    """The labels that have a spec, in their order, with FROM_SPEC; and the report.

    A vector a row is large: `chunks` gives the rows in parts, for writing one after another, `rows` all at once.
    """

    labels: pl.DataFrame
    features: pl.DataFrame
    spec: pl.Series  # the row of `features` that each of `labels` belongs to
    report: JoinReport

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All rows."""
        return self._rows(self.labels, self.spec)

    def chunks(self, *, size: int = 50_000) -> Iterator[pl.DataFrame]:
        """Yield the rows in parts of `size`; one empty part where there is none."""
        for start in range(0, max(1, len(self.labels)), size):
            yield self._rows(self.labels.slice(start, size), self.spec.slice(start, size))

    def _rows(self, labels: pl.DataFrame, spec: pl.Series) -> pl.DataFrame:
        known = self.features.select(
            column if column in self.features.columns else pl.lit(None, kind).alias(column)
            for column, kind in FROM_SPEC.items()
        )
        given = known[spec] if len(known) else known
        return labels.drop(c for c in FROM_SPEC if c in labels.columns).hstack(given.get_columns())


class Joiner:
    """Joins labels to the specs of one table of features, batch by batch.

    A label finds its spec by the template that made its pod, where that is known; else by its workload, as of the
    step; else by a spec of the pod itself. Specs without a time were always in force.
    """

    def __init__(self, features: pl.DataFrame) -> None:
        """InvalidInput when the features are of two encoders."""
        fingerprints = features["encoder_fingerprint"].drop_nulls().unique().sort().to_list()
        if len(fingerprints) > 1:
            names = ", ".join(f"{f:.12}" for f in fingerprints)
            raise InvalidInput(f"features of {len(fingerprints)} encoders ({names}): transform all specs with one")
        self.features = with_version(features)
        self._specs: dict[bool, _Specs] = {}
        self._with_labels = np.zeros(len(features), dtype=bool)
        self._labels = self._joined = self._older_labels = 0
        self._unjoined: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def join(self, labels: pl.DataFrame) -> "JoinedRows":
        """Return one row for each label that has a spec, never more; the report is of all batches so far."""
        matched = self._of(labels).matched(labels)
        found = matched["_spec"].is_not_null()
        spec = matched["_spec"].filter(found).cast(pl.Int64)
        self._count_missing(labels.filter(~found).with_columns(matched["_reason"].filter(~found)))
        labels = with_version(labels)
        self._labels += len(labels)
        self._joined += len(spec)
        self._with_labels[spec.unique().to_numpy()] = True
        if "_spec_hash" in labels:
            # A label of another version, or of another system, finds its spec by workload and time.
            self._older_labels += len(labels.filter(is_older() & pl.col("_spec_hash").is_not_null()))
        return JoinedRows(labels=labels.filter(found), features=self.features, spec=spec, report=self.report)

    @property
    def report(self) -> JoinReport:
        """Counts of all batches so far."""
        return JoinReport(
            labels=self._labels,
            joined=self._joined,
            unjoined=dict(self._unjoined),
            examples=dict(self._examples),
            specs=len(self.features),
            specs_without_labels=int((~self._with_labels).sum()),
            older_specs=len(self.features.filter(is_older() & pl.col("encoder_fingerprint").is_not_null())),
            older_labels=self._older_labels,
        )

    def _of(self, labels: pl.DataFrame) -> "_Specs":
        by_cluster = _both_name_clusters(self.features, labels)
        if by_cluster not in self._specs:
            self._specs[by_cluster] = _Specs(self.features, by_cluster=by_cluster)
        return self._specs[by_cluster]

    def _count_missing(self, missing: pl.DataFrame) -> None:
        by_reason = missing.group_by("_reason", maintain_order=True).agg(
            pl.len(),
            pl.concat_str(*WORKLOAD, separator="/").unique(maintain_order=True).head(_EXAMPLES).alias("examples"),
        )
        for reason, count, examples in by_reason.select("_reason", "len", "examples").iter_rows():
            self._unjoined[reason] += count
            known = self._examples.setdefault(reason, [])
            known.extend(name for name in examples if name not in known)
            del known[_EXAMPLES:]


def join_rows(features: pl.DataFrame, labels: pl.DataFrame) -> JoinedRows:
    """Join one table of labels. InvalidInput as `Joiner`."""
    return Joiner(features).join(labels)


class _Specs:
    """Specs by each of the keys that labels find them by."""

    def __init__(self, features: pl.DataFrame, *, by_cluster: bool) -> None:
        self._where = where = ("cluster", *WORKLOAD) if by_cluster else WORKLOAD
        columns = [*where, "_spec_hash", "observed_from_s"]
        specs = features.select(columns).with_row_index("_spec")
        specs = specs.with_columns(pl.col("observed_from_s").fill_null(float("-inf"))).sort("observed_from_s", "_spec")

        def latest(keys: tuple[str, ...]) -> pl.DataFrame:
            return specs.unique([*keys], keep="last", maintain_order=True)

        self._exact = latest((*where, "_spec_hash")).select(*where, "_spec_hash", pl.col("_spec").alias("_exact"))
        timed = latest((*where, "observed_from_s"))
        self._timed = timed.select(*where, "observed_from_s", pl.col("_spec").alias("_as_of"))
        own_pod = latest(where).filter(pl.col("workload_kind") == "Pod")
        own_pod = own_pod.select(*(c for c in where if c != "workload_kind"), pl.col("_spec").alias("_own"))
        self._own_pod = own_pod.rename({"workload_name": "pod"})
        self._known = specs.select(where).unique().with_columns(pl.lit(value=True).alias("_known"))

    def matched(self, labels: pl.DataFrame) -> pl.DataFrame:
        """Return `_spec` (row of `features`, or null) and `_reason` of each label, in order."""
        where = list(self._where)
        times = [c for c in ("ts", "end_s", "start_s") if c in labels.columns]
        time = pl.coalesce(*times, pl.lit(float("inf")))
        if "_spec_hash" not in labels.columns:
            labels = labels.with_columns(pl.lit(None, dtype=pl.String).alias("_spec_hash"))
        found = labels.select(*where, "pod", "_spec_hash", time.alias("_at")).with_row_index("_label")
        found = found.join(self._exact, on=[*where, "_spec_hash"], how="left", maintain_order="left")
        found = found.sort("_at").join_asof(
            self._timed,
            left_on="_at",
            right_on="observed_from_s",
            by=where,
            strategy="backward",
            check_sortedness=False,
        )
        of_pod = [*(c for c in where if c not in {"workload_kind", "workload_name"}), "pod"]
        found = found.join(self._own_pod, on=of_pod, how="left", maintain_order="left")
        found = found.join(self._known, on=where, how="left", maintain_order="left")
        # The pods of a Node share an owner but no template: only the hash or the pod's own spec names it.
        of_workload = pl.when(pl.col("workload_kind") != "Node").then("_as_of")
        return found.sort("_label").select(
            pl.coalesce("_exact", of_workload, "_own").alias("_spec"),
            pl.when(pl.col("_known")).then(pl.lit(NOT_YET_OBSERVED)).otherwise(pl.lit(NO_SPEC)).alias("_reason"),
        )


def _both_name_clusters(features: pl.DataFrame, labels: pl.DataFrame) -> bool:
    return all(
        "cluster" in table.columns and len(table) > 0 and table["cluster"].null_count() == 0
        for table in (features, labels)
    )
