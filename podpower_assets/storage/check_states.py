"""States of partitioned checks, remembered by a process.

Dagster's storages compute the state of a check anew at each request, partition by partition: 5 s of CPU for a year of
hours, while the pages of an asset request all of its checks every few seconds. Here the partitions of a state are put
together at once, and afterwards only those are looked at in which something happened. The database keeps what was
computed, so that the next process need not, and a mark where a process wiped an asset. After a day a thread computes a
state from the whole history again, for what was removed from it otherwise; pages do not wait for it.
"""

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import Lock, Thread
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.events import ASSET_CHECK_EVENTS
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
    AssetCheckPartitionInfo,
)
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from podpower.hours import DAY_S, HOUR_S
from podpower_assets.storage.memories import Memory, Recent, mark_of, memory_in, place_of, text_of

_LOG = logging.getLogger(__name__)
_REFRESHED_S = DAY_S
LATE_EVENTS = 500  # events with a smaller id that another process can still be writing
_MOST_CHANGED = 1000  # partitions; where more changed, the whole history is read again
_CHECKING = [one.value for one in ASSET_CHECK_EVENTS]
_RESOLVED = {
    AssetCheckExecutionRecordStatus.SUCCEEDED: AssetCheckExecutionResolvedStatus.SUCCEEDED,
    AssetCheckExecutionRecordStatus.FAILED: AssetCheckExecutionResolvedStatus.FAILED,
}
_Definitions = Mapping[dg.AssetCheckKey, dg.PartitionsDefinition]
_Checks = Sequence[tuple[dg.AssetCheckKey, dg.PartitionsDefinition | None]]
_Subset = SerializableEntitySubset[dg.AssetCheckKey]


class CheckStates(SqlEventLogStorage):
    """A storage of events that remembers the states of partitioned checks."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._memories: dict[dg.AssetKey, Memory] = {}
        self._one_at_a_time = Lock()  # requests of the same page would all compute the same
        self._kept_s: dict[dg.AssetKey, float] = {}  # when a memory was written for the next process
        self._to_refresh: dict[dg.AssetKey, _Definitions] = {}
        self._refreshing: Thread | None = None
        super().__init__(*arguments, **named)

    def get_asset_check_state(self, keys: _Checks) -> Mapping[dg.AssetCheckKey, AssetCheckState]:
        """Return the states of checks, which are those that Dagster computes from the whole history."""
        partitioned = defaultdict[dg.AssetKey, dict[dg.AssetCheckKey, dg.PartitionsDefinition]](dict)
        for key, definition in keys:
            if definition is not None:
                partitioned[key.asset_key][key] = definition
        whole = [one for one in keys if one[1] is None]
        found = dict(super().get_asset_check_state(whole)) if whole else {}
        with self._one_at_a_time:
            marks = self._marks(partitioned)
            for asset, definitions in partitioned.items():
                found |= self._states_of(asset, definitions, wiped=marks[asset])
        return found

    def wipe_asset(self, asset_key: dg.AssetKey) -> None:
        """Remove the history of an asset, and forget the states of its checks."""
        super().wipe_asset(asset_key)
        self._forget([asset_key])

    def wipe(self) -> None:
        """Remove the history, and forget the states of all checks."""
        assets = self.all_asset_keys()
        super().wipe()
        self._forget(assets)

    def _forget(self, assets: Iterable[dg.AssetKey]) -> None:
        """Forget the states of assets in every process."""
        with self._one_at_a_time:
            for asset in assets:
                self._memories.pop(asset, None)
                for place, text in ((mark_of(asset), uuid.uuid4().hex), (place_of(asset), "")):
                    # One by one: of several, SQLite only updates those that exist.
                    self._instance.run_storage.set_cursor_values({place: text})

    def _marks(self, assets: Iterable[dg.AssetKey]) -> dict[dg.AssetKey, str]:
        """Return the marks of the assets, "" of one that was never wiped."""
        places = {asset: mark_of(asset) for asset in assets}
        found = self._instance.run_storage.get_cursor_values({*places.values()}) if places else {}
        return {asset: found.get(place, "") for asset, place in places.items()}

    def _states_of(
        self, asset: dg.AssetKey, definitions: _Definitions, *, wiped: str
    ) -> dict[dg.AssetCheckKey, AssetCheckState]:
        """Return the states of checks of an asset, and remember them."""
        newest, now_s = self._newest_event(), time.time()
        memory = self._memories.get(asset) or self._kept(asset)
        if memory is None or memory.wiped != wiped or memory.event > newest:  # wiped, or restored from a copy
            memory = Memory(event=newest, at_s=now_s, wiped=wiped)
        if not 0 <= now_s - memory.at_s < _REFRESHED_S:
            self._refresh_later(asset, definitions)
        known = [key for key in definitions if self._is_known(memory, key, definitions[key])]
        after = memory.event - LATE_EVENTS
        recent = self._recent(asset, {*memory.states, *definitions}, after=after)
        seen = {one for one in memory.recent if one.event > after}
        changed = {one.partition for one in recent ^ seen}
        if len(changed) > _MOST_CHANGED:
            memory, known, changed = Memory(event=newest, at_s=now_s, wiped=wiped), [], set()
        new = [key for key in definitions if key not in known]
        by_key = self._infos(new)
        if changed:
            by_key |= self._infos(known, partition_keys=sorted(changed))
        subsets = _Subsets()
        for key, definition in definitions.items():
            state = memory.states[key] if key in known else AssetCheckState.empty()
            if changed or key in new:
                state = updated(state, key, definition, infos=by_key[key], changed=changed, subsets=subsets)
            memory.states[key] = self._settled(state, key, definition)
        if len(definitions) == len(memory.states):
            memory.event, memory.recent = newest, recent
        self._memories[asset] = memory
        if new or now_s - self._kept_s.get(asset, 0.0) >= HOUR_S:
            self._keep(asset, memory)
        return {key: memory.states[key] for key in definitions}

    def _kept(self, asset: dg.AssetKey) -> Memory | None:
        """Return the memory of an asset that a process kept in the database; None where there is none."""
        place = place_of(asset)
        return memory_in(self._instance.run_storage.get_cursor_values({place}).get(place), asset)

    def _keep(self, asset: dg.AssetKey, memory: Memory) -> None:
        """Keep the memory for the next process. A page does not fail where the database is busy."""
        self._kept_s[asset] = time.time()
        try:
            self._instance.run_storage.set_cursor_values({place_of(asset): text_of(memory)})
        except sa.exc.OperationalError as error:
            _LOG.warning("states of checks of %s were not kept: %s", asset.to_user_string(), error)

    def _refresh_later(self, asset: dg.AssetKey, definitions: _Definitions) -> None:
        """Let a thread compute the states of an asset from the whole history, one asset after another."""
        self._to_refresh[asset] = definitions
        if self._refreshing is None:
            self._refreshing = Thread(target=self._refresh, name="check-states", daemon=True)
            self._refreshing.start()

    def _refresh(self) -> None:
        while True:
            with self._one_at_a_time:
                if not self._to_refresh:
                    self._refreshing = None
                    return
                asset, definitions = self._to_refresh.popitem()
                before = self._memories.get(asset)
            try:
                memory = self._from_history(definitions, wiped=self._marks([asset])[asset])
                with self._one_at_a_time:
                    if before is not None and self._memories.get(asset) is before:  # not wiped meanwhile
                        self._memories[asset] = memory
                        self._keep(asset, memory)
            except Exception:  # a database that is away must not end the thread: the next request tries again
                _LOG.warning("states of checks of %s were not refreshed", asset.to_user_string(), exc_info=True)

    def _from_history(self, definitions: _Definitions, *, wiped: str) -> Memory:
        """Return the states of checks, computed from the whole history."""
        memory = Memory(event=self._newest_event(), at_s=time.time(), wiped=wiped)
        by_key = self._infos(list(definitions))
        subsets = _Subsets()
        for key, definition in definitions.items():
            empty = AssetCheckState.empty()
            state = updated(empty, key, definition, infos=by_key[key], changed=(), subsets=subsets)
            memory.states[key] = self._settled(state, key, definition)
        return memory

    @staticmethod
    def _is_known(memory: Memory, key: dg.AssetCheckKey, definition: dg.PartitionsDefinition) -> bool:
        return key in memory.states and memory.states[key].compatible_with(definition)

    def _infos(
        self, keys: Sequence[dg.AssetCheckKey], *, partition_keys: Sequence[str] | None = None
    ) -> defaultdict[dg.AssetCheckKey, list[AssetCheckPartitionInfo]]:
        """Return the latest results of each partition by their check."""
        found = defaultdict[dg.AssetCheckKey, list[AssetCheckPartitionInfo]](list)
        for info in self.get_asset_check_partition_info(keys, partition_keys=partition_keys) if keys else ():
            found[info.check_key].append(info)
        return found

    def _newest_event(self) -> int:
        with self.index_connection() as connection:
            return connection.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar() or 0

    def _recent(self, asset: dg.AssetKey, keys: Iterable[dg.AssetCheckKey], *, after: int) -> frozenset[Recent]:
        """Return the materializations and results of an asset's partitions after an event. Executions of checks have no
        index by event: they are found by the runs that checked something since.
        """
        events, checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
        materialized = sa.select(events.id, events.partition).where(
            events.asset_key == asset.to_string(),
            events.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            events.id > after,
        )
        checking = sa.select(events.run_id).where(events.dagster_event_type.in_(_CHECKING), events.id > after)
        checked = sa.select(checks.evaluation_event_storage_id, checks.partition).where(
            checks.asset_key == asset.to_string(),
            checks.check_name.in_([key.name for key in keys]),
            checks.run_id.in_(checking),
            checks.evaluation_event_storage_id > after,
        )
        with self.index_connection() as connection:
            rows = connection.execute(materialized.union_all(checked)).fetchall()
        return frozenset(Recent(event, partition) for event, partition in rows if partition is not None)

    def _settled(
        self, state: AssetCheckState, key: dg.AssetCheckKey, definition: dg.PartitionsDefinition
    ) -> AssetCheckState:
        """Return the state without the runs in progress that have ended meanwhile."""
        if not state.in_progress_runs:
            return state
        running = dg.RunsFilter(run_ids=list(state.in_progress_runs), statuses=FINISHED_STATUSES)
        ended = {run.run_id: run.status for run in self._instance.get_runs(filters=running)}
        return state.with_updates(key, definition, [], ended) if ended else state


def updated(
    state: AssetCheckState,
    key: dg.AssetCheckKey,
    definition: dg.PartitionsDefinition,
    *,
    infos: Iterable[AssetCheckPartitionInfo],
    changed: Collection[str],
    subsets: "_Subsets",
) -> AssetCheckState:
    """Return the state with the latest results of partitions in place of what it has of those that `changed`."""
    by_status = defaultdict[AssetCheckExecutionResolvedStatus, list[str]](list)
    by_run = defaultdict[str, list[str]](list)
    for info in infos:
        if info.partition_key is None:
            continue
        if info.latest_execution_status == AssetCheckExecutionRecordStatus.PLANNED:
            by_status[AssetCheckExecutionResolvedStatus.IN_PROGRESS].append(info.partition_key)
            by_run[info.latest_planned_run_id].append(info.partition_key)
        elif info.is_current:
            by_status[_RESOLVED[info.latest_execution_status]].append(info.partition_key)

    def subset(keys: Collection[str]) -> _Subset:
        return SerializableEntitySubset(key, subsets.of(definition, keys))

    gone, nothing = subset(changed), subset(())
    runs = {run: state.in_progress_runs.get(run, nothing) for run in {*state.in_progress_runs, *by_run}}
    runs = {run: one.compute_difference(gone).compute_union(subset(by_run[run])) for run, one in runs.items()}
    return AssetCheckState(
        latest_storage_id=state.latest_storage_id,
        subsets={
            status: state.subsets.get(status, nothing).compute_difference(gone).compute_union(subset(by_status[status]))
            for status in AssetCheckExecutionResolvedStatus
        },
        in_progress_runs={run: one for run, one in runs.items() if not one.is_empty},
    )


class _Subsets:
    """Subsets of partitions by their keys. The checks of an asset have mostly the same ones."""

    def __init__(self) -> None:
        self._known: list[tuple[dg.PartitionsDefinition, frozenset[str], PartitionsSubset]] = []

    def of(self, definition: dg.PartitionsDefinition, keys: Collection[str]) -> PartitionsSubset:
        """Return the subset of the keys that the definition has."""
        if not keys:
            return definition.empty_subset()
        wanted = frozenset(keys)
        for of, known, subset in self._known:
            if known == wanted and of == definition:
                return subset
        valid = definition.filter_valid_partition_keys(set(wanted))
        subset = definition.empty_subset().with_partition_keys(valid)
        self._known.append((definition, wanted, subset))
        return subset
