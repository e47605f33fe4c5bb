"""Logs of runs on object storage: what a run printed is kept where its pod is gone, and every replica shows it."""

import tempfile
from collections.abc import Sequence
from typing import IO, Any, Self

from dagster._core.storage.cloud_storage_compute_log_manager import (
    PollingComputeLogSubscriptionManager,
    TruncatingCloudStorageComputeLogManager,
)
from dagster._core.storage.compute_log_manager import CapturedLogSubscription, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from upath import UPath

from podpower.io.files import exists, read_bounded, write_atomically
from podpower.io.places import place, reaching

_MOST_BYTES = 64 << 20  # Dagster uploads at most 50 MiB of a step
_UPLOAD_SECONDS = 30


class ObjectStorageComputeLogManager(TruncatingCloudStorageComputeLogManager[Any], ConfigurableClass):
    """Keeps the output of steps below `root`, a folder or URL (`s3://`, `gs://`, `az://`)."""

    def __init__(self, root: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._root = place(root)
        self._inst_data = inst_data
        self._folder = tempfile.TemporaryDirectory(prefix="compute-logs-", ignore_cleanup_errors=True)
        self._local = LocalComputeLogManager(self._folder.name)
        self._subscriptions = PollingComputeLogSubscriptionManager(self)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the configuration in dagster.yaml."""
        return {"root": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: dict[str, Any]) -> Self:
        """Return the manager that dagster.yaml configures."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Return the fields that dagster.yaml configures."""
        return self._inst_data

    @property
    def local_manager(self) -> LocalComputeLogManager:
        """Return the manager of the files that a step writes before its output is uploaded."""
        return self._local

    @property
    def upload_interval(self) -> int | None:
        """Return the seconds between uploads of the output of a running step."""
        return _UPLOAD_SECONDS

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete the output of a step, or of everything below a prefix."""
        self._local.delete_logs(log_key=log_key, prefix=prefix)
        if log_key:
            for io_type in ComputeIOType:
                for partial in (False, True):
                    path = self._path(log_key, io_type, partial=partial)
                    with reaching(path):
                        path.unlink(missing_ok=True)
        elif prefix:
            folder = self._root.joinpath(*prefix)
            if exists(folder):
                with reaching(folder):
                    folder.fs.rm(folder.path, recursive=True)

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str | None:  # noqa: ARG002
        """Return None: the webserver shows logs itself, and no browser gets credentials of the storage."""
        return None

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        """Return where the output is."""
        return str(self._path(log_key, io_type, partial=False))

    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:
        """Return True where the output was uploaded."""
        return exists(self._path(log_key, io_type, partial=partial))

    def download_from_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        """Copy the output to the local folder."""
        data = read_bounded(self._path(log_key, io_type, partial=partial), limit_bytes=_MOST_BYTES)
        write_atomically(
            self._local.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type], partial=partial), data
        )

    def _upload_file_obj(
        self, data: IO[bytes], log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        content = data.read()
        if content or not partial:
            write_atomically(self._path(log_key, io_type, partial=partial), content)

    def _path(self, log_key: Sequence[str], io_type: ComputeIOType, *, partial: bool) -> UPath:
        *folders, name = log_key
        extension = IO_TYPE_EXTENSION[io_type] + (".partial" if partial else "")
        return self._root.joinpath(*folders, f"{name}.{extension}")

    def on_subscribe(self, subscription: CapturedLogSubscription) -> None:
        """Poll for new output."""
        self._subscriptions.add_subscription(subscription)

    def on_unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        """Stop polling."""
        self._subscriptions.remove_subscription(subscription)

    def dispose(self) -> None:
        """Stop polling, and remove the local folder."""
        self._subscriptions.dispose()
        super().dispose()
        self._folder.cleanup()
