"""Dagster's history in files of SQLite."""

from typing import Any, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from podpower_assets.storage.check_states import CheckStates


class SqliteEvents(CheckStates, SqliteEventLogStorage):
    """Events in files of SQLite."""


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's storage on SQLite, in the same files."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = SqliteEvents(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Return the storage in the configured folder."""
        return cls.from_local(inst_data=inst_data, **config_value)
