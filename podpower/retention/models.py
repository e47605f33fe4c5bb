"""Purge of a model store: versions that learned from a namespace or name its workloads, and their quarantine."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from podpower.errors import InvalidInput, Refused
from podpower.features.encoder import Encoder
from podpower.fleet.summary import FLEET_FILE
from podpower.io.object_storage import ObjectStorage
from podpower.io.places import AnyPath
from podpower.model.knn import KnnModel
from podpower.model.search import EXACT_ENTRIES
from podpower.registry.store import ModelStore, VersionInfo
from podpower.registry.versions import REPORT_FILE
from podpower.retention.scope import Purged, Scope
from podpower.training.ivf import make_inverted_file

_NOTE = "workloads were removed from it after its training"  # also makes it another version


def purge_models(root: AnyPath, scope: Scope, *, dry_run: bool) -> Iterator[Purged]:
    """Remove the namespace from a model store and the fleet summary beside it, and yield what had it.

    The served version is replaced by one without the entries of the namespace, and then removed like the others.
    InvalidInput when it has no other entries.
    """
    store = ModelStore(root)
    entries = store.quarantine.forget(lambda spec: scope.has(spec.cluster, spec.namespace), dry_run=dry_run)
    if entries:
        yield Purged(store="models", place="quarantine", count=entries, unit="entries")
    found = {info.version: _entries_of(store, info, scope) for info in store.versions()}
    found = {version: count for version, count in found.items() if count is not None}
    served = store.last_served()
    if served in found and not dry_run:
        _replace_served(store, str(served), scope)
    if not dry_run:
        store.remove(list(found))
    for version, count in found.items():
        role = " (served; replaced by one without them)" if version == served else ""
        yield Purged(store="models", place=f"{version}{role}", count=count or 0, unit="entries")
    yield from _purge_fleet(root, scope, dry_run=dry_run)


def _entries_of(store: ModelStore, info: VersionInfo, scope: Scope) -> int | None:
    """Return how many entries of a version are of the namespace; None where it neither has nor names any. A damaged
    version counts as one that has.
    """
    try:
        _, model = store.load(info.version)
        page = store.report(info.version).decode() if REPORT_FILE in info.files else ""
    except Refused:
        return 0
    count = int((~_kept(model, scope)).sum())
    texts = (msgspec.json.encode(info).decode(), page, *model.notes)
    return count if count or scope.is_shown_in(page) or any(map(scope.is_named_in, texts)) else None


def _kept(model: KnnModel, scope: Scope) -> np.ndarray[Any, np.dtype[np.bool_]]:
    own = zip(model.index.clusters, model.index.namespaces, strict=True)
    return np.array([not scope.has(cluster, namespace) for cluster, namespace in own], dtype=np.bool_)


def _replace_served(store: ModelStore, version: str, scope: Scope) -> None:
    """Serve the version without the namespace and without its report, pinned as before."""
    info = store.info(version)
    encoder, model = store.load(version)
    metadata = {
        name: value
        for name, value in info.metadata.items()
        if not scope.is_named_in(msgspec.json.encode(value).decode())
    }
    pinned = store.pinned()
    store.promote(_added(store, encoder, without(model, scope), metadata), pin=pinned)


def _added(store: ModelStore, encoder: Encoder, model: KnnModel, metadata: dict[str, Any]) -> str:
    return store.add(encoder, model, metadata=metadata)


def without(model: KnnModel, scope: Scope) -> KnnModel:
    """Return the model without entries and notes of the namespace. What was learned of all entries together stays."""
    kept = _kept(model, scope)
    if not kept.any():
        raise InvalidInput(
            f"the served model has workloads of {scope.namespace} only: promote another version, then purge again"
        )
    index, inverted_file = model.index.take(kept), None
    if model.inverted_file is not None and len(index) > EXACT_ENTRIES:
        inverted_file = make_inverted_file(index.vectors.astype(np.float32), model.metric.scales())
    elif model.inverted_file is not None:
        index = replace(index, vectors=index.vectors.astype(np.float32))
    state = model.with_index(index, inverted_file).state()
    workloads = {*zip(index.clusters, index.workloads, strict=True)}
    size = model.training_size | {"specs": len(index), "workloads": len(workloads)}
    notes = [*(note for note in state["notes"] if not scope.is_named_in(note)), _NOTE]
    return KnnModel.from_state(state | {"notes": notes, "training_size": size})


def _purge_fleet(root: AnyPath, scope: Scope, *, dry_run: bool) -> Iterator[Purged]:
    """Remove the fleet summary if it names the namespace: `fleet_summary` writes it again within the hour."""
    storage = ObjectStorage(root)
    path = storage.root / FLEET_FILE
    data = storage.read(path)
    if data is not None and f'"namespace":"{scope.namespace}"'.encode() in data:
        if not dry_run:
            storage.unlink(path)
        yield Purged(store="models", place=FLEET_FILE, count=1, unit="files")
