"""Resources that assets read and write: the source, the tables of each partition, the encoder and the model store."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from upath import UPath

from podpower import clusters as configured
from podpower import settings
from podpower.collector.opening import Sources, opened_sources
from podpower.errors import Damaged, PodpowerError, Refused, Unavailable
from podpower.features.encoder import Encoder
from podpower.fleet.budgets import NAMESPACES, annotated_budgets
from podpower.fleet.observed import Observed, observed_at
from podpower.hours import DAY_S
from podpower.io.files import children, exists, read_bounded, write_atomically
from podpower.io.parquet import TableFile, recorded_digest, write_parquet
from podpower.io.places import place, reaching
from podpower.io.set_aside import damaged_files, set_aside, setting_aside
from podpower.labels.now import measured_idle
from podpower.registry import artifacts
from podpower.registry.store import ModelStore
from podpower.sources.prometheus.endpoint import endpoint_from
from podpower.sources.recording import read_meta
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

    def present_s(self, *, now_s: float) -> float:
        """Return the time that data are compared with: now or, for a recording that ended days ago, its end."""
        try:
            end_s = read_meta(Path(self._place()[0])).end_s
        except PodpowerError:
            return now_s
        return end_s if now_s - end_s > DAY_S else now_s

    def budgets_w(self, *, start_s: float, end_s: float) -> dict[str, float]:
        """Return the annotated budgets of namespaces at the end of a time range; none where Namespaces are not
        observed. Errors as `opened`.
        """
        if NAMESPACES not in self._place()[1].settings().cluster.kinds:
            return {}
        with self.opened() as sources:
            return annotated_budgets(sources.objects.events(start_s=start_s, end_s=end_s))

    def idle(self) -> tuple[float, str] | None:
        """Return the measured idle watts of a vCPU of the cluster's nodes and their source; None without a Prometheus
        that answers and has them.
        """
        try:
            endpoint = endpoint_from(self._place()[1].settings().prometheus)
            return None if endpoint is None else measured_idle(endpoint)
        except PodpowerError:  # labels report what is wrong with it
            return None

    def _place(self) -> tuple[str, configured.Cluster]:
        own = configured.cluster_of(settings.read(), self.cluster)
        return own.place if own.entry else self.recording, own


class Tables(dg.ConfigurableResource):
    """One Parquet file a partition of an asset, below `root`: a local folder, s3://, gs:// or az://.

    A reader that meets a damaged table or verdict sets it aside, so that the partition is missing: it is made again,
    and whatever can do without it goes on (`podpower_assets.damage`).
    """

    root: str
    cluster: str = ""

    def of(self, cluster: Cluster) -> "Tables":
        """Return the tables of a cluster."""
        return Tables(root=cluster.place(self.root), cluster=cluster.name)

    def key(self, asset: str) -> dg.AssetKey:
        """Return the key of an asset of this cluster."""
        return Cluster(self.cluster).key(asset)

    def path(self, asset: str, partition: str) -> UPath:
        """Return the path of the partition. Colons, which some stores do not allow in names, are left out."""
        return place(self.root) / asset / f"{partition.replace(':', '')}.parquet"

    def write(self, asset: str, partition: str, table: pl.DataFrame | Iterable[pl.DataFrame]) -> None:
        """Write the partition, whole or not at all; the last of two writers wins."""
        write_parquet(table, self.path(asset, partition))

    def file(self, asset: str, partition: str) -> TableFile:
        """Return the file of the partition, with the command that makes it again."""
        name = self.key(asset).to_user_string()
        command = f"dagster asset materialize -m podpower_assets.definitions --select {name} --partition {partition}"
        return TableFile(path=self.path(asset, partition), partition=f"{partition} of {asset}", command=command)

    def read(self, asset: str, partition: str) -> pl.DataFrame | None:
        """Return the table of the partition; None where there is none. Damaged, once it was set aside."""
        with self._setting_aside(asset, partition):
            return self.file(asset, partition).read() if exists(self.path(asset, partition)) else None

    def scan(self, asset: str, partition: str) -> pl.LazyFrame | None:
        """Return the table of the partition as a query; None where there is none. Damaged, once it was set aside."""
        with self._setting_aside(asset, partition):
            return self.file(asset, partition).scan() if exists(self.path(asset, partition)) else None

    def read_if_whole(self, asset: str, partition: str) -> pl.DataFrame | None:
        """Return the table of the partition; None where there is none, or it is damaged."""
        with suppress(Damaged):
            return self.read(asset, partition)
        return None

    def scan_if_whole(self, asset: str, partition: str) -> pl.LazyFrame | None:
        """Return the table of the partition as a query; None where there is none, or it is damaged."""
        with suppress(Damaged):
            return self.scan(asset, partition)
        return None

    def digest(self, asset: str, partition: str) -> str:
        """Return the SHA-256 of the partition's content, as it was recorded when it was written."""
        return recorded_digest(self.path(asset, partition))

    def write_verdict(self, asset: str, partition: str, verdict: PartitionVerdict) -> None:
        """Write the verdict about the partition beside its table."""
        write_verdict(self._verdict_path(asset, partition), verdict)

    def verdict(self, asset: str, partition: str) -> PartitionVerdict | None:
        """Return the verdict about the partition; None where there is none, as of earlier versions, or it is damaged:
        then its table is set aside too, because it is not known whether it can be used.
        """
        path, command = self._verdict_path(asset, partition), self.file(asset, partition).command
        try:
            return read_verdict(path, command=command)
        except Damaged:
            with suppress(PodpowerError):
                set_aside(path, lambda moved: read_verdict(moved, command=command))
                self.set_aside(asset, partition)
            return None

    def set_aside(self, asset: str, partition: str) -> UPath | None:
        """Move the partition's table into the folder `damaged` beside it, and return where it is now."""

        def never_whole(moved: UPath) -> None:
            raise Damaged(f"{moved} is set aside")

        return set_aside(self.path(asset, partition), never_whole)

    def damaged(self, asset: str) -> dict[str, list[str]]:
        """Return the tables of an asset that were set aside, by the key of their partition."""
        found = damaged_files(place(self.root) / asset)
        return {_key_of(name): [str(path) for path in paths] for name, paths in found.items() if _is_table(name)}

    def stamps(self, asset: str) -> dict[str, str]:
        """Return size and time of the table and verdict of each stored partition, by its key: they differ once one of
        them was written again.
        """
        folder, found = place(self.root) / asset, dict[str, str]()
        with reaching(folder):
            try:
                listed = folder.fs.ls(folder.path, detail=True)
            except FileNotFoundError:
                return {}
        names = {str(one["name"]).rpartition("/")[2]: one for one in listed if one["type"] == "file"}
        for name in names:
            if _is_table(name):
                pair = [names.get(one) for one in (name, name.removesuffix(".parquet") + ".verdict.json")]
                found[_key_of(name)] = " ".join(_stamp(one) for one in pair if one)
        return found

    def _setting_aside(self, asset: str, partition: str) -> AbstractContextManager[None]:
        return setting_aside(self.path(asset, partition), lambda moved: TableFile(path=moved, command="").scan())

    def _verdict_path(self, asset: str, partition: str) -> UPath:
        return self.path(asset, partition).with_suffix(".verdict.json")

    def partitions(self, asset: str) -> list[str]:
        """Return the keys of the hours that have a file, oldest first."""
        return sorted(_key_of(path.name) for path in children(place(self.root) / asset) if _is_table(path.name))

    def save_encoder(self, encoder: Encoder) -> None:
        """Write the encoder of all features."""
        write_atomically(self._encoder_path(), artifacts.encoder_bytes(encoder))

    def encoder(self) -> Encoder | None:
        """Return the encoder; None before the first was fitted. Damaged, once it was set aside: the sensor
        `damaged_encoder` restores it.
        """
        path = self._encoder_path()
        if not exists(path):
            return None
        with setting_aside(path, _encoder_at):
            return _encoder_at(path)

    def require_encoder(self) -> Encoder:
        """Return the encoder; Unavailable before the first was fitted, and until a damaged one is restored."""
        try:
            fitted = self.encoder()
        except Damaged as error:
            raise Unavailable(f"{error}; the sensor `damaged_encoder` restores it") from error
        if fitted is None:
            raise Unavailable("no encoder: materialize `encoder` first; one that was lost is restored by itself")
        return fitted

    def _encoder_path(self) -> UPath:
        return place(self.root) / "encoder" / "encoder.joblib"


def _encoder_at(path: UPath) -> Encoder:
    """Return the encoder in a file; Damaged where its bytes are not those that were written."""
    try:
        return artifacts.encoder_from_bytes(read_bounded(path, limit_bytes=_MAX_ENCODER_BYTES))
    except Refused as error:
        raise Damaged(f"{path}: {error}") from None


def _is_table(name: str) -> bool:
    return name.endswith(".parquet")


def _key_of(name: str) -> str:
    """Return the key of the hour whose file has this name."""
    stem = name.removesuffix(".parquet")
    return f"{stem[:-2]}:{stem[-2:]}"


def _stamp(info: Mapping[str, Any]) -> str:
    """Return what distinguishes two versions of a file, of a local one or of an object store's."""
    times = (info[name] for name in ("ETag", "etag", "mtime", "LastModified", "last_modified") if name in info)
    return f"{info['size']} {next(times, '')}"


class Models(dg.ConfigurableResource):
    """Model store, which the prediction service reads too."""

    root: str
    keep: int = 50
    api_url: str = "http://127.0.0.1:8000"
    node_types: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it

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
            keep=given.assets.keep_models,
            api_url=given.service.api_url,
            node_types=configured.node_types(given),
        ),
    }
