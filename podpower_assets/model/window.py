"""The training window of a day's model, and other vectors for its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from podpower.datasets.entries import Examples
from podpower.datasets.renewal import is_older, not_renewed, with_version
from podpower.datasets.rows import WORKLOAD
from podpower.datasets.tables import TrainingRows, read_training_rows
from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.hours import DAY_S, HOUR_S
from podpower.io.files import exists
from podpower.io.parquet import scanned
from podpower.specs.table import rehashed, renewals, requests_of
from podpower_assets.clusters import Cluster
from podpower_assets.partitions import AssetPartition, Partitions, day_end_s, hours_between
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.training_rows.assets import NAME as ROWS
from podpower_assets.upstream import Upstream


def window_of(clusters: Sequence[Cluster], partitions: Partitions) -> Upstream:
    """Return the rows that a day's model is made from: those of all clusters with a meter, in the days before."""
    rows = tuple(cluster.key(ROWS) for cluster in clusters if cluster.has_meter)
    return Upstream(window=rows, window_days=partitions.window_days)


@dataclass(kw_only=True)
class Window:
    """Window of a model: its first and last hour (partition keys), and how many hours and rows there were."""

    first_hour: str = ""
    last_hour: str = ""
    hours: int = 0
    rows: int = 0
    rows_of_other_encoders: int = 0
    rows_of_older_hashes: int = 0
    failed_hours: list[str] = field(default_factory=list)  # not trained on: their rows failed a blocking check
    missing_hours: list[AssetPartition] = field(default_factory=list)  # not trained on: their rows are damaged or lost

    def recorded(self) -> dict[str, Any]:
        """Return the window as the manifest of a model has it."""
        return {**vars(self), "missing_hours": [str(one) for one in self.missing_hours]}

    def shown(self) -> dict[str, Any]:
        """Return the window as metadata, whose values are texts and numbers."""
        named = {name: ", ".join(map(str, getattr(self, name))) or "none" for name in ("failed_hours", "missing_hours")}
        return {**vars(self), **named}


def window_rows(
    clusters: Sequence[Tables], day: str, *, window_days: int, encoder: Encoder
) -> tuple[TrainingRows, Window]:
    """Return the rows, of all clusters by their tables, of the window that ends with the day. Hours whose rows are
    damaged are left out, and named.
    """
    end_s = day_end_s(day)
    parts, newer, window = [], [renewals(None)], Window()
    own = pl.col("encoder_fingerprint") == encoder.fingerprint
    for hour, tables in product(hours_between(end_s - window_days * DAY_S, end_s), clusters):
        rows = _trainable(tables, hour, window)
        if rows is None:
            continue
        window.first_hour, window.last_hour = window.first_hour or hour, hour
        file = tables.file(ROWS, hour)
        with file.readable():
            total, fitting = rows.select(pl.len(), own.sum()).collect().row(0)
            older = not_renewed(rows.filter(own), renewals(None))
        window.hours += 1
        window.rows += fitting
        window.rows_of_other_encoders += total - fitting
        if fitting:
            parts.append(file)
        if older:
            newer.append(renewals(tables.read_if_whole(SPECS, hour)))
            with file.readable():
                window.rows_of_older_hashes += not_renewed(rows.filter(own), newer[-1])
    if not parts:
        raise InvalidInput(
            f"no training rows of this encoder in the {window_days} days that end with {day}: materialize training_rows"
            + (" and features again: they have another encoder" if window.rows_of_other_encoders else "")
        )
    by_hash = pl.concat(newer).unique("_spec_hash")
    return read_training_rows(*parts, encoder_fingerprint=encoder.fingerprint, renewals=by_hash), window


def _trainable(tables: Tables, hour: str, window: Window) -> pl.LazyFrame | None:
    """Return the rows of an hour; None, noted in the window, where they are damaged, lost or failed a check."""
    verdict, was_there = tables.verdict(ROWS, hour), exists(tables.path(ROWS, hour))
    rows = tables.scan_if_whole(ROWS, hour)
    if rows is None:
        if was_there or (verdict and verdict.has_table):
            window.missing_hours.append(AssetPartition(tables.key(ROWS), hour))
        return None
    if verdict is not None and verdict.failed_checks:
        window.failed_hours.append(hour)
        return None
    return rows


def reencode(clusters: Sequence[Tables], encoder: Encoder, pods: Examples) -> tuple[Examples, Examples]:
    """Return the pods whose specs are stored, as they are and in vectors of another encoder."""
    hours = hours_between(float(pods.first_s.min()) - HOUR_S, float(pods.last_s.max()) + HOUR_S)
    stored = [t.file(SPECS, hour) for hour, t in product(hours, clusters) if t.scan_if_whole(SPECS, hour) is not None]
    wanted = list(dict.fromkeys(pods.entries.spec_hashes))
    if not stored:
        nothing = pods.take(np.zeros(0, dtype=np.int64))
        return nothing, nothing
    keys = ["_spec_hash", *WORKLOAD]
    with scanned(stored) as queries:
        candidates = pl.col("_spec_hash").is_in(wanted) | is_older()
        specs = rehashed(pl.concat(map(with_version, queries), how="diagonal").filter(candidates).collect())
    specs = specs.filter(pl.col("_spec_hash").is_in(wanted)).unique(keys, keep="last", maintain_order=True)
    requests = requests_of(specs)
    of_spec = dict(zip(specs["_spec_hash"], requests, strict=True))
    of_workload = dict(zip(specs.select(keys).iter_rows(), requests, strict=True))
    known = pods.take(np.array([spec_hash in of_spec for spec_hash in pods.entries.spec_hashes])[pods.entry])
    # A static pod is a workload of its own in the specs, and part of its Node in the rows.
    known_requests = [
        of_workload.get((spec_hash, *workload), of_spec[spec_hash])
        for spec_hash, workload in zip(known.entries.spec_hashes, known.entries.workloads, strict=True)
    ]
    vectors, blocks = encoder.transform(known_requests), tuple(encoder.blocks.values())
    return known, known.encoded(vectors, blocks=blocks, fingerprint=encoder.fingerprint)
