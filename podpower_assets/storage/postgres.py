"""Dagster's history on PostgreSQL."""

from typing import Any, Final, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine

from podpower_assets.storage.check_states import CheckStates

# Of each of the three storages: one connection is kept, and more are made for the threads of a daemon.
_POOL: Final = {"pool_size": 1, "max_overflow": 40, "pool_pre_ping": True, "pool_recycle": 3600}


class PostgresEvents(CheckStates, PostgresEventLogStorage):
    """Events on PostgreSQL."""


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage on PostgreSQL, in the same tables. It keeps its connections; Dagster's makes one for each
    query, which is most of what an idle platform does.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._event_log_storage = PostgresEvents(postgres_url)
        for storage in (self._event_log_storage, self._run_storage, self._schedule_storage):
            storage._engine = create_pg_engine(postgres_url, isolation_level="AUTOCOMMIT", **_POOL)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Return the storage at the configured URL."""
        return cls(config_value["postgres_url"], inst_data)
