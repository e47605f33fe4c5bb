"""Versions of partitions: that of the content recorded last, and those of what it was made from.

A partition is remade when what it consumed differs from what is there now; nothing else decides. Both the body of an
asset, before it reads, and its automation look here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from podpower_assets.partitions import AssetPartition

CONSUMED, NEW_SPECS = "podpower/consumed", "podpower/new_specs"
BEGAN = "podpower/began"
INCOMPLETE = "podpower/incomplete"
WHOLE = ""  # the key of the one partition of an asset without partitions

Consumed = Mapping[str, Mapping[str, str]]  # asset -> partition -> version


@dataclass(frozen=True)
class Recorded:
    """The last materialization of a partition. `consumed` is None where it was not recorded, as by earlier versions."""

    storage_id: int
    at_s: float
    version: str
    consumed: Consumed | None
    new_specs: str
    began_s: float  # when its body began to read
    incomplete: str = ""  # why its source may have more of it


# Events never change. Those of the window that automation looks at are read once by a process.
_KNOWN: dict[tuple[str, int], Recorded] = {}
_MOST_KNOWN = 50_000
_PAGE = 500


def recorded(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str] | None) -> dict[str, Recorded]:
    """Return the last materialization of each of the partitions that have one; None: of an asset without partitions."""
    if partitions is None:
        found = instance.fetch_materializations(asset, limit=1).records
        return {WHOLE: _read(found[0])} if found else {}
    if not partitions:
        return {}
    storage_ids = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
    database = instance.run_storage.get_run_storage_id()
    unknown = [one for one in storage_ids.values() if (database, one) not in _KNOWN]
    if len(_KNOWN) > _MOST_KNOWN:
        _KNOWN.clear()
        unknown = list(storage_ids.values())
    for start in range(0, len(unknown), _PAGE):
        page = unknown[start : start + _PAGE]
        chosen = dg.AssetRecordsFilter(asset, storage_ids=page)
        for record in instance.fetch_materializations(chosen, limit=len(page)).records:
            _KNOWN[database, record.storage_id] = _read(record)
    return {key: _KNOWN[database, one] for key, one in storage_ids.items() if (database, one) in _KNOWN}


def versions(
    instance: dg.DagsterInstance, upstream: Mapping[dg.AssetKey, Sequence[str] | None]
) -> dict[str, dict[str, str]]:
    """Return the version of each partition of `upstream` that has one, by asset and partition; and, under NEW_SPECS, of
    the specs that are new in them.
    """
    found: dict[str, dict[str, str]] = {}
    new: dict[str, str] = {}
    for asset, partitions in upstream.items():
        name, last = asset.to_user_string(), recorded(instance, asset, partitions)
        found[name] = {key: one.version for key, one in last.items()}
        new |= {str(AssetPartition(asset, key)): one.new_specs for key, one in last.items() if one.new_specs}
    return found | ({NEW_SPECS: new} if new else {})


def is_stale(own: Recorded | None, upstream: Iterable[tuple[str, str, Recorded]]) -> bool:
    """Return whether a partition was made from something else than these materializations (asset, partition, last).

    Where it is not known what it was made from, a later materialization counts as something else.
    """
    for asset, partition, last in upstream:
        if own is None:
            return True
        if own.consumed is None:
            if last.storage_id > own.storage_id:
                return True
        elif own.consumed.get(asset, {}).get(partition) != last.version:
            return True
    return False


def new_specs(own: Recorded | None, upstream: Iterable[tuple[str, str, Recorded]]) -> bool:
    """Return whether one of these partitions has specs that are new in it and were not there when it was consumed."""
    seen = (own.consumed if own and own.consumed else {}).get(NEW_SPECS, {})
    return any(
        last.new_specs
        and seen.get(str(AssetPartition(dg.AssetKey.from_user_string(asset), partition))) != last.new_specs
        for asset, partition, last in upstream
    )


def _read(record: dg.EventLogRecord) -> Recorded:
    materialization: Any = record.asset_materialization
    metadata, tags = materialization.metadata, materialization.tags or {}
    consumed, new, incomplete = metadata.get(CONSUMED), metadata.get(NEW_SPECS), metadata.get(INCOMPLETE)
    return Recorded(
        storage_id=record.storage_id,
        at_s=record.timestamp,
        version=tags.get(DATA_VERSION_TAG) or f"event-{record.storage_id}",
        consumed=None if consumed is None else consumed.value,
        new_specs="" if new is None else str(new.value),
        began_s=record.timestamp if (began := metadata.get(BEGAN)) is None else float(began.value),
        incomplete="" if incomplete is None else str(incomplete.value),
    )
