"""Clusters that figures are measured on: simulated ones, and a real one where its files are given."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from quality.figures import simulated

from podpower.datasets.join import join_rows
from podpower.datasets.training_set import TrainingSet
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.labels import read_labels
from podpower.specs.ndjson import read_ndjson
from podpower.specs.requests import InferenceRequest


@dataclass(frozen=True, kw_only=True)
class Data:
    """Specs and labels of one cluster."""

    name: str
    requests: list[InferenceRequest]
    labels: pl.DataFrame

    def encoder(self) -> Encoder:
        """An encoder of its specs, held-out ones included, without any label."""
        return Encoder.fit(self.requests)

    def training_set(self) -> TrainingSet:
        """Its rows."""
        return training_set([self])


def training_set(clusters: list[Data], *, factors: dict[str, float] | None = None) -> TrainingSet:
    """Rows of clusters with one encoder; of several with their names, and with the watts of some times a factor."""
    encoder = Encoder.fit([request for cluster in clusters for request in cluster.requests])
    tables = []
    for cluster in clusters:
        features = features_table(cluster.requests, encoder.transform(cluster.requests), encoder=encoder)
        none = pl.lit(None, pl.String).alias("cluster")
        rows = join_rows(features.with_columns(none), cluster.labels.with_columns(none)).rows
        factor = (factors or {}).get(cluster.name, 1.0)
        name = pl.lit(cluster.name if len(clusters) > 1 else None, pl.String).alias("cluster")
        tables.append(rows.with_columns(name, pl.col("energy_step_j", "avg_power_w") * factor))
    return TrainingSet.of(pl.concat(tables, how="diagonal_relaxed"))


def read(name: str, specs: Path, labels: Path) -> Data:
    """A cluster of files."""
    with specs.open("rb") as file:
        requests = [line for line in read_ndjson(file, source=str(specs)) if isinstance(line, InferenceRequest)]
    return Data(name=name, requests=requests, labels=read_labels(labels))


class Simulations:
    """Simulated clusters, each made once in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, *, workloads: int, hours: int, seed: int) -> Data:
        """One cluster."""
        name = f"{workloads}-{hours}-{seed}"
        place = self._folder / name
        specs, labels = (place / f"seed-{seed}" / file for file in ("specs.ndjson", "labels.parquet"))
        if not labels.exists():
            place.mkdir(parents=True, exist_ok=True)
            simulated(place, hours=hours, workloads=workloads, seed=seed)
        return read(name, specs, labels)
