"""The loop of every partitioned asset. Each partition of a run stands alone: it is written, recorded and checked before
the next one is made, and its failure is its own.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import msgspec
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG, get_input_data_version_tag
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from podpower.checks import CheckResult
from podpower.errors import PodpowerError, Unavailable
from podpower.io.files import exists
from podpower_assets import policies
from podpower_assets.checks import TABLE_IS_WHOLE, evaluation, table_is_whole
from podpower_assets.metadata import table_metadata
from podpower_assets.partitions import AssetPartition
from podpower_assets.resources import Tables
from podpower_assets.upstream import Upstream
from podpower_assets.verdicts import PartitionVerdict
from podpower_assets.versions import BEGAN, CONSUMED, NEW_SPECS, versions

# Dagster records an output for every partition of a run once the step ends, and with one version. Outputs with this
# metadata are passed to later steps and not recorded: each partition was, when it was written.
_RECORDED_ALREADY = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
_NAMED = 20  # partitions that a message names


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition: its table, whole or in parts (None: the asset has none), the version of its content where that is
    not the table's, its metadata, its checks, which run when it is written, the specs that are new in it, and the
    upstream partitions that were left out of it because their tables are damaged, lost or out of reach.
    """

    table: pl.DataFrame | Iterable[pl.DataFrame] | None = None
    version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Callable[[], Iterable[CheckResult]] = tuple
    new_specs: str = ""
    unread: Collection[AssetPartition] = ()


def per_partition(
    context: dg.AssetExecutionContext, tables: Tables, upstream: Upstream, make: Callable[[str], Partition]
) -> Iterator[Any]:
    """Make each partition of the run by its key, oldest first, and yield what Dagster records of it.

    A partition whose upstream failed a blocking check is left out. Of several partitions, one that fails is reported by
    its name when all were tried, by the last asset of the run: those before it go on with the others.
    """
    loop = _Loop(context, tables, upstream)
    for key in context.partition_keys:
        yield from loop.made(key, make)
    yield from loop.outcome()


class _Loop:
    """State of the loop: which partitions failed or were left out, and why."""

    def __init__(self, context: dg.AssetExecutionContext, tables: Tables, upstream: Upstream) -> None:
        self._context, self._tables, self._upstream = context, tables, upstream
        self._asset = context.asset_key.path[-1]
        self._several = len(context.partition_keys) > 1
        # Before anything is read: what arrives from now on differs from it.
        self._versions = versions(context.instance, upstream.of(context.partition_keys))
        self._failed: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        self._away: Unavailable | None = None

    def made(self, key: str, make: Callable[[str], Partition]) -> Iterator[Any]:
        """Make a partition, and yield its materialization and the evaluations of its checks."""
        if self._away or self._was_made(key) or self._has_bad_upstream(key):
            return
        consumed, began_s = self._consumed(key), time.time()
        try:
            partition = make(key)
            if partition.table is not None:
                self._tables.write(self._asset, key, partition.table)
            results = [*self._check_of_table(key, partition), *partition.checks()]
        except Exception as error:  # a defect that one partition meets must not fail the others: noted, then raised
            if isinstance(error, Unavailable) and self._context.retry_number < policies.MAX_RETRIES:
                self._away = error  # the others would wait for the same
            elif self._several or isinstance(error, PodpowerError):
                self._note_failure(key, error)
            else:
                raise
            return
        for unread in partition.unread:
            if consumed.get(unread.asset.to_user_string(), {}).pop(unread.key, None) is not None:
                self._context.log.warning(f"{self._asset} of {key} is made without {unread}: damaged or lost")
        version = partition.version or self._tables.digest(self._asset, key)[:16]
        failed = tuple(result.name for result in results if result.is_error)
        verdict = PartitionVerdict(
            run_id=self._context.run.run_id,
            version=version,
            consumed=consumed,
            failed_checks=failed,
            has_table=partition.table is not None,
        )
        self._tables.write_verdict(self._asset, key, verdict)
        yield self._materialization(key, partition, verdict, began_s)
        yield from self._evaluations(key, results)

    def outcome(self) -> Iterator[Any]:
        """Yield what later steps wait for. Raises where nothing was made, and in the last asset if anything failed."""
        if self._away:
            raise policies.retry_later() from self._away
        bad = self._failed | self._left_out
        for key, reason in bad.items():
            self._context.log.warning(f"{self._asset} of {key} was not made: {reason}")
        if len(bad) == len(self._context.partition_keys):
            raise self._failure(bad)
        yield dg.MaterializeResult(metadata=_RECORDED_ALREADY)
        layer = self._context.job_def.asset_layer
        for check in self._context.selected_asset_check_keys:
            yield dg.Output(None, output_name=layer.get_op_output_name(check))
        followers = layer.get(self._context.asset_key).child_keys & set(layer.executable_asset_keys)
        if self._failed and not followers:
            raise self._failure(self._failed)

    def _consumed(self, key: str) -> dict[str, dict[str, str]]:
        """Return the versions that a partition is made from, of those found for all partitions of the run."""
        wanted = {asset.to_user_string(): keys for asset, keys in self._upstream.of([key]).items()}
        found = {
            asset: {
                one: version for one, version in by_key.items() if (keys := wanted.get(asset)) is None or one in keys
            }
            for asset, by_key in self._versions.items()
        }
        return {asset: by_key for asset, by_key in found.items() if by_key}

    def _was_made(self, key: str) -> bool:
        """Return whether this run made the partition before it waited for something."""
        if not self._context.retry_number:
            return False
        verdict = self._tables.verdict(self._asset, key)
        return verdict is not None and not verdict.error and verdict.run_id == self._context.run.run_id

    def _has_bad_upstream(self, key: str) -> bool:
        """Note why a partition cannot be made: upstream failed in this run, or failed a check whenever it was made."""
        for asset in self._upstream.same:
            verdict, name = self._tables.verdict(asset.path[-1], key), asset.to_user_string()
            if verdict is None:
                continue
            if verdict.error and verdict.run_id == self._context.run.run_id:
                self._note_failure(key, f"{name} failed: {verdict.error}")
                return True
            if verdict.has_table and not exists(self._tables.path(asset.path[-1], key)):
                self._note_failure(key, f"the table of {name} was damaged or is lost, and has to be made again first")
                return True
            checks = ", ".join(verdict.failed_checks)
            if checks or verdict.left_out:
                self._left_out[key] = f"{name} failed its check {checks}" if checks else verdict.left_out
                self._keep_table(key, left_out=self._left_out[key])
                return True
        return False

    def _check_of_table(self, key: str, partition: Partition) -> Iterator[CheckResult]:
        """Yield the check of the table that was just written, if the asset has it."""
        check = dg.AssetCheckKey(self._context.asset_key, TABLE_IS_WHOLE)
        if partition.table is not None and check in self._context.job_def.asset_layer.asset_graph.asset_check_keys:
            yield table_is_whole(self._tables.digest(self._asset, key))

    def _note_failure(self, key: str, reason: Exception | str) -> None:
        if isinstance(reason, Exception) and not isinstance(reason, PodpowerError):
            self._context.log.error(f"{self._asset} of {key} failed", exc_info=reason)
        self._failed[key] = next(iter(str(reason).splitlines()), type(reason).__name__)
        self._keep_table(key, error=self._failed[key])

    def _keep_table(self, key: str, **why: str) -> None:
        """Write a verdict about a partition that was not made: its table, if there is one, stays."""
        before = self._tables.verdict(self._asset, key) or PartitionVerdict(run_id="")
        now = msgspec.structs.replace(before, run_id=self._context.run.run_id, error="", left_out="")
        self._tables.write_verdict(self._asset, key, msgspec.structs.replace(now, **why))

    def _failure(self, reasons: Mapping[str, str]) -> dg.Failure:
        keys = self._context.partition_keys
        named = "; ".join(f"{key}: {reason}" for key, reason in list(reasons.items())[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        text = f"{len(reasons)} of {len(keys)} partitions of {self._asset} failed: {named}{more}"
        return dg.Failure(description=text if self._several else named, allow_retries=False)

    def _materialization(
        self, key: str, partition: Partition, verdict: PartitionVerdict, began_s: float
    ) -> dg.AssetMaterialization:
        own = {CONSUMED: dg.MetadataValue.json(verdict.consumed), BEGAN: dg.MetadataValue.float(began_s)}
        table = table_metadata(partition.table) if isinstance(partition.table, pl.DataFrame) else {}
        metadata = {**partition.metadata, **table, **own}
        if partition.new_specs:
            metadata[NEW_SPECS] = partition.new_specs
        asset = self._context.asset_key
        code_version = self._context.job_def.asset_layer.get(asset).code_version
        tags = {DATA_VERSION_TAG: verdict.version, CODE_VERSION_TAG: code_version or self._context.run.run_id}
        for upstream in (*self._upstream.same, *self._upstream.whole):
            for one in verdict.consumed.get(upstream.to_user_string(), {}).values():
                tags[get_input_data_version_tag(upstream)] = one
        return dg.AssetMaterialization(asset, partition=key, metadata=metadata, tags=tags)

    def _evaluations(self, key: str, results: Sequence[CheckResult]) -> Iterator[dg.AssetCheckEvaluation]:
        """Yield the evaluations of the checks. One that blocks stops the run where the run has no other partition."""
        if not results:
            return
        asset, run_id = self._context.asset_key, self._context.run.run_id
        stored = self._context.instance.event_log_storage.get_latest_storage_id_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION, {key}
        )
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=stored[key], run_id=run_id, timestamp=time.time()
        )
        for result in results:
            yield evaluation(result, asset=asset, partition=key, target=target, blocking=not self._several)
