"""What assets read and write: the source, the tables of each partition, the encoder and the model store."""

import os
from collections.abc import Mapping

import dagster as dg
import polars as pl
from upath import UPath

from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.files import atomic_file, read_bounded, write_atomically
from podpower.model import artifacts
from podpower.model.store import ModelStore
from podpower.sources.recording import Recording

_MAX_ENCODER_BYTES = 1 << 30


class Source(dg.ConfigurableResource):
    """Where objects and samples come from."""

    recording: str

    def open(self) -> Recording:
        """The recording; InvalidInput or Unavailable when there is none."""
        return Recording(self.recording)


class Tables(dg.ConfigurableResource):
    """One Parquet file a partition of an asset, below `root`: a local folder, s3:// or gs://."""

    root: str

    def path(self, asset: str, partition: str) -> UPath:
        """Where the partition lies. Colons, which not every store likes in names, are left out."""
        return UPath(self.root) / asset / f"{partition.replace(':', '')}.parquet"

    def write(self, asset: str, partition: str, table: pl.DataFrame) -> None:
        """Put the partition in place, whole or not at all; the last of two writers wins."""
        with atomic_file(self.path(asset, partition)) as aside:
            table.write_parquet(aside, compression="zstd")

    def read(self, asset: str, partition: str) -> pl.DataFrame | None:
        """The partition's table; None where it has not been made."""
        path = self.path(asset, partition)
        if not path.exists():
            return None
        try:
            return pl.read_parquet(read_bounded(path, limit_bytes=8 << 30))
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise InvalidInput(f"{path} is damaged ({reason}): materialize {asset} {partition} again") from None

    def partitions(self, asset: str) -> list[str]:
        """Names of the files that are there, oldest first."""
        folder = UPath(self.root) / asset
        return sorted(p.stem for p in folder.glob("*.parquet")) if folder.exists() else []

    def read_stored(self, asset: str, name: str) -> pl.DataFrame:
        """A table by its name in `partitions`."""
        return pl.read_parquet(read_bounded(UPath(self.root) / asset / f"{name}.parquet", limit_bytes=8 << 30))

    def save_encoder(self, encoder: Encoder) -> None:
        """Put the encoder that all features are made with in place."""
        write_atomically(self._encoder_path(), artifacts.seal("encoder", encoder.state()))

    def encoder(self) -> Encoder | None:
        """The encoder; None before the first was fitted."""
        path = self._encoder_path()
        if not path.exists():
            return None
        return Encoder.from_state(artifacts.unseal(read_bounded(path, limit_bytes=_MAX_ENCODER_BYTES), kind="encoder"))

    def _encoder_path(self) -> UPath:
        return UPath(self.root) / "encoder" / "encoder.joblib"


class Models(dg.ConfigurableResource):
    """The store that the prediction service reads."""

    root: str
    window_days: int = 7

    def open(self) -> ModelStore:
        """The store, made by its first model."""
        return ModelStore(self.root)


def resources_from(environment: Mapping[str, str]) -> dict[str, dg.ConfigurableResource]:
    """The resources as PODPOWER_HOME, PODPOWER_RECORDING, PODPOWER_MODEL_STORE and PODPOWER_WINDOW_DAYS place them."""
    home = _home(environment)
    return {
        "source": Source(recording=environment.get("PODPOWER_RECORDING") or f"{home}/recording"),
        "tables": Tables(root=environment.get("PODPOWER_TABLES") or f"{home}/tables"),
        "models": models_from(environment),
    }


def models_from(environment: Mapping[str, str]) -> Models:
    """The model store and the days that a model is trained on."""
    root = environment.get("PODPOWER_MODEL_STORE") or f"{_home(environment)}/models"
    return Models(root=root, window_days=int(environment.get("PODPOWER_WINDOW_DAYS") or 7))


def _home(environment: Mapping[str, str]) -> str:
    return environment.get("PODPOWER_HOME") or os.path.abspath(".podpower")
