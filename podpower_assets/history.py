"""Dagster's history, as conditions and sensors need it: a few queries for an asset."""

from collections.abc import Collection, Sequence

import dagster as dg
from dagster._core.asset_graph_view.entity_subset import EntitySubset
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from podpower_assets.versions import WHOLE, Recorded, recorded

# Other statuses are of checks that were planned only, and show nothing of the content.
_PASSED, _FAILED = AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED


_MOST_CANCELED = 1000  # the newest ones


class History:
    """History as of one evaluation of the condition of an asset."""

    def __init__(self, context: dg.AutomationContext) -> None:
        self._view, self._graph = context.asset_graph_view, context.asset_graph

    def recorded(self, asset: dg.AssetKey, partitions: Sequence[str]) -> dict[str, Recorded]:
        """Return the last materialization of each of the partitions that have one."""
        whole = self._graph.get(asset).partitions_def is None
        return recorded(self._view.instance, asset, None if whole else partitions)

    async def in_progress(self, asset: dg.AssetKey) -> set[str]:
        """Return the partitions that runs or backfills are about to make, or make now."""
        full = self._view.get_full_subset(key=asset)
        runs = await self._view.compute_run_in_progress_subset(key=asset, from_subset=full)
        backfills = await self._view.compute_backfill_in_progress_subset(key=asset, from_subset=full)
        return keys_of(runs) | keys_of(backfills)

    async def failed(self, asset: dg.AssetKey, partitions: Collection[str]) -> set[str]:
        """Return those of the partitions whose last run failed, or was canceled, without making them."""
        full = self._view.get_full_subset(key=asset)
        failed = keys_of(await self._view.compute_execution_failed_subset(key=asset, from_subset=full))
        return (failed | self._canceled(asset)) & set(partitions)

    def _canceled(self, asset: dg.AssetKey) -> set[str]:
        """Return the partitions whose last run was canceled without making them; Dagster counts failed runs only."""
        instance = self._view.instance
        filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELED])
        canceled = {run.run_id for run in instance.get_runs(filters, limit=_MOST_CANCELED)}
        if not canceled:
            return set()
        storage = instance.event_log_storage
        if self._graph.get(asset).partitions_def is not None:
            tried = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
            return {partition for partition, (run_id, _) in tried.items() if run_id in canceled}
        planned = storage.get_latest_planned_materialization_info(asset)
        made = recorded(instance, asset, None).get(WHOLE)
        is_left = planned is not None and (made is None or made.storage_id < planned.storage_id)
        return {WHOLE} if is_left and planned is not None and planned.run_id in canceled else set()

    def checked(self, asset: dg.AssetKey, partitions: Sequence[str]) -> dict[str, bool]:
        """Return whether the blocking checks of the partitions passed, of those that have a result of every check, or a
        failed one. A result without a partition is that of every partition without results of its own.
        """
        checks = [key for key in self._graph.get(asset).check_keys if self._graph.get(key).blocking]
        storage = self._view.instance.event_log_storage
        if not checks or not partitions:
            return {}
        results = {key: dict.fromkeys(partitions, self._status_of_all(key)) for key in checks}
        for info in storage.get_asset_check_partition_info(checks, partition_keys=list(partitions)):
            results[info.check_key][str(info.partition_key)] = info.latest_execution_status
        found = {}
        for partition in partitions:
            statuses = [results[key][partition] for key in checks]
            if _FAILED in statuses:
                found[partition] = False
            elif all(status == _PASSED for status in statuses):
                found[partition] = True
        return found

    def _status_of_all(self, check: dg.AssetCheckKey) -> AssetCheckExecutionRecordStatus | None:
        found = self._view.instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [check], partition_filter=PartitionKeyFilter(key=None)
        )
        return found[check].status if check in found else None


def has_unfinished_run(instance: dg.DagsterInstance, *, sensor: str) -> bool:
    """Return True while a run that a sensor requested waits or goes on."""
    filters = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={"dagster/sensor_name": sensor})
    return bool(instance.get_runs(filters, limit=1))


def keys_of(subset: "EntitySubset[dg.AssetKey]") -> set[str]:
    """Return the partition keys of a subset; that of an asset without partitions is WHOLE."""
    if subset.is_partitioned:
        return set(subset.expensively_compute_partition_keys())
    return set() if subset.is_empty else {WHOLE}
