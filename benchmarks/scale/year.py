"""A year of Dagster's history: real events of an hour, recorded once for each of its partitions, in the database.

The events of one hour are those that the platform's own run recorded. Each is reported once for every further cluster
through Dagster, and then copied inside the database with another partition and time: what a page reads is in the same
tables, columns and sizes as if each hour had been made.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster_shared.record import copy

Event = dg.AssetMaterialization | AssetCheckEvaluation
_EVENT = ("run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition")
_CHECK = (
    "asset_key", "check_name", "partition", "run_id", "execution_status", "evaluation_event",
    "evaluation_event_timestamp", "evaluation_event_storage_id", "materialization_event_storage_id",
    "create_timestamp",
)  # fmt: skip
_MOVED = {"event", "partition", "evaluation_event"}  # have the partition in them
_TAGS = """
INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT e.id, t.asset_key, t.key, t.value, t.event_timestamp FROM event_logs o
JOIN asset_event_tags t ON t.event_id = o.id JOIN event_logs e ON e.asset_key = o.asset_key
AND e.dagster_event_type = 'ASSET_MATERIALIZATION' AND e.id > :newest
WHERE o.id IN (SELECT max(id) FROM event_logs WHERE partition = :of AND dagster_event_type = 'ASSET_MATERIALIZATION'
GROUP BY asset_key)
"""
_TARGETS = """
UPDATE asset_check_executions SET materialization_event_storage_id = (SELECT t.event_id FROM bench_targets t
WHERE t.asset_key = asset_check_executions.asset_key AND t.partition = asset_check_executions.partition)
WHERE id > :newest
"""
# A table of their own: SQLite, which has not counted its tables, finds no index of event_logs for both columns.
_MADE = """
CREATE TEMPORARY TABLE bench_targets AS SELECT asset_key, partition, max(id) AS event_id FROM event_logs
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND id > :newest GROUP BY asset_key, partition
"""
_EVENTS = """
UPDATE asset_check_executions SET evaluation_event_storage_id = materialization_event_storage_id WHERE id > :newest
"""


def recorded_events(instance: dg.DagsterInstance, assets: Sequence[dg.AssetsDefinition]) -> list[Event]:
    """Return the last materialization of each asset, and the last evaluation of each of its checks."""
    found: list[Event] = []
    for definition in assets:
        for key in definition.keys:
            record = instance.get_latest_materialization_event(key)
            if record and record.asset_materialization:
                found.append(record.asset_materialization)
        for check in definition.check_keys:
            records = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
            for one in records:
                event = one.event.dagster_event if one.event else None
                if event and event.event_specific_data:
                    found.append(event.event_specific_data)  # type: ignore[arg-type]
    return found


def of_cluster(events: Sequence[Event], prefix: str) -> Iterator[Event]:
    """Yield the events as those of a further cluster."""
    for event in events:
        yield _changed(event, asset_key=dg.AssetKey([prefix, *event.asset_key.path]))


def report(instance: dg.DagsterInstance, events: Sequence[Event], partition: str) -> None:
    """Report events of one partition through Dagster."""
    for event in events:
        instance.report_runless_asset_event(_changed(event, partition=partition))


def _changed(event: Event, **values: Any) -> Event:
    if isinstance(event, AssetCheckEvaluation):
        return copy(event, target_materialization_data=None, **values)
    return event._replace(**values)


def copy_partition(instance: dg.DagsterInstance, of: str, keys: Sequence[str], *, step_s: float) -> int:
    """Copy the newest events of a partition to those of `keys`, each `step_s` before the next; return the number of
    rows. A copied check is about the copied materialization.
    """
    storage: Any = instance.event_log_storage
    rows = [{"key": key, "ago": step_s * (len(keys) - number)} for number, key in enumerate(keys)]
    written = 0
    with storage.index_connection() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE bench_keys (key VARCHAR(32), ago REAL)"))
        connection.execute(sa.text("INSERT INTO bench_keys (key, ago) VALUES (:key, :ago)"), rows)
        newest, newest_check = (
            connection.execute(sa.text(f"SELECT max(id) FROM {table}")).scalar()
            for table in ("event_logs", "asset_check_executions")
        )
        for table, columns, what in (
            ("event_logs", _EVENT, "asset_key, dagster_event_type"),
            ("asset_check_executions", _CHECK, "asset_key, check_name"),
        ):
            chosen = ", ".join(f"replace(t.{c}, :of, k.key)" if c in _MOVED else f"t.{c}" for c in columns)
            written += connection.execute(
                sa.text(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM bench_keys k "
                    f"CROSS JOIN {table} t WHERE t.id IN (SELECT max(id) FROM {table} WHERE partition = :of "
                    f"GROUP BY {what}) ORDER BY k.ago DESC, t.id"
                ),
                {"of": of},
            ).rowcount
        _analyze(connection)
        written += connection.execute(sa.text(_TAGS), {"of": of, "newest": newest}).rowcount
        connection.execute(sa.text(_MADE), {"newest": newest})
        connection.execute(sa.text("CREATE INDEX bench_of ON bench_targets (asset_key, partition)"))
        for statement in (_TARGETS, _EVENTS):
            connection.execute(sa.text(statement), {"newest": newest_check})
        for table in ("bench_targets", "bench_keys"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        _analyze(connection)
    return written


def _analyze(connection: sa.Connection) -> None:
    """Commit what was written, and let PostgreSQL count it, as it does by itself after a while."""
    if connection.dialect.name == "postgresql":
        connection.commit()
        connection.execute(sa.text("ANALYZE"))
        connection.commit()
