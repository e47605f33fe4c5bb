"""Dagster's history on PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine

from podpower_assets.storage.check_states import CheckStates

# Of each of the three storages: one connection is kept, and more are made for the threads of a daemon. None is kept
# long: after a failover it may lead to a server that answers and takes no writes.
_POOL: Final = {"pool_size": 1, "max_overflow": 40, "pool_pre_ping": True, "pool_recycle": 300}


_RECORD: Final = (
    "id", "asset_key", "check_name", "run_id", "execution_status", "evaluation_event", "create_timestamp", "partition",
)  # fmt: skip


class PostgresEvents(CheckStates, PostgresEventLogStorage):
    """Events on PostgreSQL."""

    def get_latest_asset_check_execution_by_key(
        self, check_keys: Sequence[dg.AssetCheckKey], partition_filter: Any = None
    ) -> Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord]:
        """Return the latest execution of each check. Dagster's query reads all executions of the checks, of every
        partition; a maximum for each check is read from the end of the table.
        """
        if partition_filter is not None or not check_keys:
            return super().get_latest_asset_check_execution_by_key(check_keys, partition_filter)
        checks = AssetCheckExecutionsTable.c
        latest = [
            sa.select(sa.func.max(checks.id)).where(
                checks.asset_key == key.asset_key.to_string(), checks.check_name == key.name
            )
            for key in check_keys
        ]
        query = sa.select(*(checks[name] for name in _RECORD)).where(checks.id.in_(sa.union_all(*latest)))
        with self.index_connection() as connection:
            rows = connection.execute(query).mappings().all()
        by_name = {(key.asset_key.to_string(), key.name): key for key in check_keys}
        found = ((by_name[row["asset_key"], row["check_name"]], row) for row in rows)
        return {key: AssetCheckExecutionRecord.from_db_row(row, key=key) for key, row in found}


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
