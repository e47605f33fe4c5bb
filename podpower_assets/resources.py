"""Resources that assets read and write: the source, the tables of each partition, the encoder and the model store."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import dagster as dg
import polars as pl
from upath import UPath

from podpower import clusters as configured
from podpower import settings
from podpower.collector.opening import Sources, opened_sources
from podpower.errors import Refused, Unavailable
from podpower.features.encoder import Encoder
from podpower.fleet.budgets import NAMESPACES, annotated_budgets
from podpower.fleet.observed import Observed, observed_at
from podpower.io.files import children, exists, read_bounded, write_atomically
from podpower.io.parquet import TableFile, recorded_digest, write_parquet
from podpower.io.places import place
from podpower.registry import artifacts
from podpower.registry.store import ModelStore
from podpower_assets.clusters import Cluster
from podpower_assets.verdicts import PartitionVerdict, read_verdict, write_verdict

_MAX_ENCODER_BYTES = 1 << 30


class Source(dg.ConfigurableResource):
    """Source of objects and samples of a cluster. `recording` is the folder of a recording or, if the environment names
    a Prometheus, of the live cluster's journal; where it names a file of clusters, that has the place of each.

    It contains no credentials, because Dagster stores configurations.
    """

    recording: str
    cluster: str = ""

    def of(self, cluster: Cluster) -> "Source":
        """Return the source of a cluster: a further one has its place beside the first one's, in `clusters/NAME`."""
        if not cluster.name:
            return self
        parent, _, name = self.recording.rpartition("/")
        return Source(recording=f"{parent}/clusters/{cluster.name}/{name}", cluster=cluster.name)

    def opened(self) -> AbstractContextManager[Sources]:
        """Open the sources; InvalidInput or Unavailable when there are none."""
        place, given = self._place()
        return opened_sources(place, given.settings())

    def observed(self) -> Observed:
        """Return how far the cluster is observed. Errors as `opened`."""
        return observed_at(self._place()[0])

    def budgets_w(self, *, start_s: float, end_s: float) -> dict[str, float]:
        """Return the annotated budgets of namespaces at the end of a time range; none where Namespaces are not
        observed. Errors as `opened`.
        """
        if NAMESPACES not in self._place()[1].settings().cluster.kinds:
            return {}
        with self.opened() as sources:
            return annotated_budgets(sources.objects.events(start_s=start_s, end_s=end_s))

    def _place(self) -> tuple[str, configured.Cluster]:
        own = configured.cluster_of(settings.read(), self.cluster)
        return own.place if own.entry else self.recording, own


class Tables(dg.ConfigurableResource):
    """One Parquet file a partition of an asset, below `root`: a local folder, s3://, gs:// or az://."""

    root: str

    def of(self, cluster: Cluster) -> "Tables":
        """Return the tables of a cluster."""
        return Tables(root=cluster.place(self.root))

    def path(self, asset: str, partition: str) -> UPath:
        """Return the path of the partition. Colons, which some stores do not allow in names, are left out."""
        return place(self.root) / asset / f"{partition.replace(':', '')}.parquet"

    def write(self, asset: str, partition: str, table: pl.DataFrame | Iterable[pl.DataFrame]) -> None:
        """Write the partition, whole or not at all; the last of two writers wins."""
        write_parquet(table, self.path(asset, partition))

    def file(self, asset: str, partition: str) -> TableFile:
        """Return the file of the partition, with the command that makes it again."""
        command = f"dagster asset materialize -m podpower_assets.definitions --select {asset} --partition {partition}"
        return TableFile(path=self.path(asset, partition), partition=f"{partition} of {asset}", command=command)

    def read(self, asset: str, partition: str) -> pl.DataFrame | None:
        """Return the table of the partition; None where there is none."""
        return self.file(asset, partition).read() if exists(self.path(asset, partition)) else None

    def scan(self, asset: str, partition: str) -> pl.LazyFrame | None:
        """Return the table of the partition as a query; None where there is none."""
        return self.file(asset, partition).scan() if exists(self.path(asset, partition)) else None

    def digest(self, asset: str, partition: str) -> str:
        """Return the SHA-256 of the partition's content, as it was recorded when it was written."""
        return recorded_digest(self.path(asset, partition))

    def write_verdict(self, asset: str, partition: str, verdict: PartitionVerdict) -> None:
        """Write the verdict about the partition beside its table."""
        write_verdict(self._verdict_path(asset, partition), verdict)

    def verdict(self, asset: str, partition: str) -> PartitionVerdict | None:
        """Return the verdict about the partition; None where there is none, as of earlier versions."""
        return read_verdict(self._verdict_path(asset, partition), command=self.file(asset, partition).command)

    def _verdict_path(self, asset: str, partition: str) -> UPath:
        return self.path(asset, partition).with_suffix(".verdict.json")

    def partitions(self, asset: str) -> list[str]:
        """Return the keys of the hours that have a file, oldest first."""
        names = sorted(path.stem for path in children(place(self.root) / asset) if path.suffix == ".parquet")
        return [f"{name[:-2]}:{name[-2:]}" for name in names]

    def save_encoder(self, encoder: Encoder) -> None:
        """Write the encoder of all features."""
        write_atomically(self._encoder_path(), artifacts.encoder_bytes(encoder))

    def encoder(self) -> Encoder | None:
        """Return the encoder; None before the first was fitted."""
        path = self._encoder_path()
        if not exists(path):
            return None
        try:
            return artifacts.encoder_from_bytes(read_bounded(path, limit_bytes=_MAX_ENCODER_BYTES))
        except Refused as error:
            again = "dagster asset materialize -m podpower_assets.definitions --select encoder"
            raise Refused(
                f"{path}: {error}; in the assets: {again}, then backfill features and training_rows"
            ) from None

    def require_encoder(self) -> Encoder:
        """Return the encoder; Unavailable before the first was fitted."""
        fitted = self.encoder()
        if fitted is None:
            raise Unavailable("no encoder yet: materialize `encoder` first")
        return fitted

    def _encoder_path(self) -> UPath:
        return place(self.root) / "encoder" / "encoder.joblib"


class Models(dg.ConfigurableResource):
    """Model store, which the prediction service reads too."""

    root: str
    window_days: int = 7
    keep: int = 50
    api_url: str = "http://127.0.0.1:8000"

    def open(self) -> ModelStore:
        """Open the store; its first model creates it."""
        return ModelStore(self.root)

    def report_url(self, version: str) -> str | None:
        """Return where the prediction service shows the evaluation of a version; None where it was not evaluated."""
        return f"{self.api_url}/models/{version}/report" if self.open().has_report(version) else None


def resources_from(given: settings.Settings) -> dict[str, dg.ConfigurableResource]:
    """Return the resources where the settings place them."""
    return {
        "source": Source(recording=configured.configured_clusters(given)[0].place),
        "tables": Tables(root=given.places.tables),
        "models": Models(
            root=given.places.model_store,
            window_days=given.assets.window_days,
            keep=given.assets.keep_models,
            api_url=given.service.api_url,
        ),
    }
