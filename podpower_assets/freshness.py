"""Freshness: checks that turn red when journal, labels, rows or the served model stop following the cluster.

A sensor evaluates them, because what has stopped starts no run. It reports a verdict when it changes, and once an hour.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from podpower import settings
from podpower.errors import PodpowerError
from podpower.hours import HOUR_S
from podpower.registry.candidates import FAILED_CHECKS
from podpower.registry.store import ModelStore
from podpower_assets.clusters import Cluster
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.lineage import JOURNAL
from podpower_assets.model.assets import PROMOTED
from podpower_assets.partitions import hour_start_s
from podpower_assets.resources import Models, Source, Tables
from podpower_assets.training_rows.assets import NAME as ROWS

JOURNAL_IS_FRESH, LABELS_ARE_FRESH, ROWS_ARE_FRESH = "journal_is_fresh", "labels_are_fresh", "rows_are_fresh"
MODEL_IS_FRESH = "served_model_is_fresh"
# Data of each check, as its description names them.
_WHAT = {
    JOURNAL_IS_FRESH: "observations of the cluster",
    LABELS_ARE_FRESH: "known labels",
    ROWS_ARE_FRESH: "training rows",
    MODEL_IS_FRESH: "hours that the served model learned from",
}
_REPEAT_S = HOUR_S
_LOOK_BACK = 48  # partitions in which the newest known label is looked for


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """One verdict. The data, `what`, reach to `reached_s` (Unix seconds), None where there are none."""

    key: dg.AssetCheckKey
    what: str
    reached_s: float | None
    now_s: float
    limit_s: float
    why: str = ""  # of data that are too old, or unreadable

    @property
    def passed(self) -> bool:
        """Return True if there are data, and they do not end too long ago."""
        return self.reached_s is not None and self.now_s - self.reached_s <= self.limit_s

    @property
    def description(self) -> str:
        """Age of the newest data, beside the limit."""
        if self.reached_s is None:
            return self.why or f"There are no {self.what}; they should be at most {self.limit_s / HOUR_S:g} h old."
        hours, minutes = divmod(int(max(0.0, self.now_s - self.reached_s) // 60), 60)
        why = f" {self.why}" if self.why and not self.passed else ""
        return f"The newest {self.what} are {hours} h {minutes} min old; the limit is {self.limit_s / HOUR_S:g} h.{why}"

    @property
    def metadata(self) -> dict[str, Any]:
        """The time that the data reach to."""
        return {} if self.reached_s is None else {"reached": dg.MetadataValue.timestamp(self.reached_s)}

    def evaluation(self) -> dg.AssetCheckEvaluation:
        """Return the verdict as an event outside a run."""
        return dg.AssetCheckEvaluation(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            passed=self.passed,
            description=self.description,
            metadata=self.metadata,
        )


def freshness_checks(clusters: Sequence[Cluster]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of each cluster and of the served model. They can be run by hand too."""
    of_clusters = [_check(key) for cluster in clusters for key in (_journal(cluster), *_keys(cluster))]
    return [*of_clusters, _check(_MODEL)]


def freshness_sensor(clusters: Sequence[Cluster]) -> dg.SensorDefinition:
    """Return the sensor that evaluates all of them."""

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates whether journal, labels, rows and the served model follow the cluster; starts no run.",
    )
    def sensor(context: dg.SensorEvaluationContext, source: Source, tables: Tables, models: Models) -> dg.SkipReason:
        """Report each verdict that has changed, and all of them once an hour."""
        now_s = time.time()
        began_s = float(context.cursor or now_s)
        context.update_cursor(str(began_s))
        # What a new platform has not made yet is not stale.
        found = [
            one
            for one in evaluate(clusters, source, tables, models, now_s=now_s)
            if one.reached_s is not None or now_s - began_s > one.limit_s
        ]
        last = context.instance.event_log_storage.get_latest_asset_check_execution_by_key([f.key for f in found])
        stale = [one.key.to_user_string() for one in found if not one.passed]
        for one in found:
            if _is_due(one, last.get(one.key)):
                context.instance.report_runless_asset_event(one.evaluation())
        return dg.SkipReason(f"stale: {', '.join(stale)}" if stale else "everything is fresh")

    return sensor


def _is_due(found: Freshness, last: AssetCheckExecutionRecord | None) -> bool:
    """Return whether a verdict differs from the last one, or that is an hour old. A planned check has none."""
    if last is None or last.status == AssetCheckExecutionRecordStatus.PLANNED or last.evaluation is None:
        return True
    return last.evaluation.passed != found.passed or found.now_s - last.create_timestamp >= _REPEAT_S


def evaluate(
    clusters: Sequence[Cluster], source: Source, tables: Tables, models: Models, *, now_s: float
) -> Iterator[Freshness]:
    """Yield the verdicts of all clusters and of the served model."""
    given = settings.read().assets
    presents_s = [source.of(cluster).present_s(now_s=now_s) for cluster in clusters]
    for cluster, own_s in zip(clusters, presents_s, strict=True):
        limit_s = given.stale_labels_hours * HOUR_S
        reached_s, why = _observed_s(source.of(cluster))
        key = _journal(cluster)
        yield Freshness(key=key, what=_WHAT[key.name], reached_s=reached_s, now_s=own_s, limit_s=limit_s, why=why)
        for key in _keys(cluster):
            reached_s = _newest_s(tables.of(cluster), key.asset_key.path[-1])
            yield Freshness(key=key, what=_WHAT[key.name], reached_s=reached_s, now_s=own_s, limit_s=limit_s)
    store, limit_s, own_s = models.open(), given.stale_model_hours * HOUR_S, max(presents_s)
    reached_s, why = _model_reaches_s(store), _rejection(store)
    yield Freshness(key=_MODEL, what=_WHAT[MODEL_IS_FRESH], reached_s=reached_s, now_s=own_s, limit_s=limit_s, why=why)


_MODEL = dg.AssetCheckKey(dg.AssetKey(PROMOTED), MODEL_IS_FRESH)


def _journal(cluster: Cluster) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(cluster.key(JOURNAL), JOURNAL_IS_FRESH)


def _observed_s(source: Source) -> tuple[float | None, str]:
    """Return the time up to which the cluster was observed, None where that cannot be read, and why."""
    try:
        return source.observed().reached_s, ""
    except PodpowerError as error:  # of one cluster: the others have their verdicts
        return None, str(error)


def _keys(cluster: Cluster) -> list[dg.AssetCheckKey]:
    named = ((LABELS, LABELS_ARE_FRESH), (ROWS, ROWS_ARE_FRESH)) if cluster.has_meter else ()
    return [dg.AssetCheckKey(cluster.key(asset), name) for asset, name in named]


def _newest_s(tables: Tables, asset: str) -> float | None:
    """Return the end of the newest step with a known power; None where the latest partitions have none."""
    for hour in reversed(tables.partitions(asset)[-_LOOK_BACK:]):
        file, query = tables.file(asset, hour), tables.scan_if_whole(asset, hour)
        if query is None:
            continue
        known = query.filter(pl.col("avg_power_w").is_not_null())
        with file.readable():
            newest = known.select((pl.col("ts") + pl.col("step_seconds")).max()).collect().item()
        if newest is not None:
            return min(float(newest), hour_start_s(hour) + HOUR_S)
    return None


def _model_reaches_s(store: ModelStore) -> float | None:
    """Return the end of the last hour that the served model learned from, or its training time if that is not known."""
    served = store.served()
    if served is None:
        return None
    info = store.info(served)
    last_hour = (info.metadata.get("window") or {}).get("last_hour")
    if last_hour:
        return hour_start_s(last_hour) + HOUR_S
    return datetime.fromisoformat(info.trained_at).timestamp()


def _rejection(store: ModelStore) -> str:
    """Return why the newest candidate was not promoted; nothing where no check of it failed."""
    newest = max(store.versions(), key=lambda info: (info.created_at, info.version), default=None)
    failed = newest.metadata.get(FAILED_CHECKS) if newest else None
    return f"The newest candidate, {newest.version}, was rejected: {', '.join(failed)}." if newest and failed else ""


def _check(key: dg.AssetCheckKey) -> dg.AssetChecksDefinition:
    """Return the check as Dagster runs it by hand."""
    description = f"The newest {_WHAT[key.name]} are not too old. The sensor `freshness` looks every five minutes."

    @dg.asset_check(asset=key.asset_key, name=key.name, description=description)
    def check(source: Source, tables: Tables, models: Models) -> dg.AssetCheckResult:
        """Evaluate all, and return this one."""
        cluster = Cluster("/".join(key.asset_key.path[:-1]))
        found = {one.key: one for one in evaluate([cluster], source, tables, models, now_s=time.time())}[key]
        return dg.AssetCheckResult(passed=found.passed, description=found.description, metadata=found.metadata)

    return check
