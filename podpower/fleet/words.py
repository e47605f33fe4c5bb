"""Sentences of the fleet summary: the evaluation of the served model, and clusters without a meter."""

from collections.abc import Sequence

from podpower.evaluation.figures import COVERAGE, EVALUATION, LOG_R2, SUM, UNKNOWN, WAPE, kept_figure
from podpower.fleet.summary import MOST_CHARS, MOST_CLUSTERS, MOST_NOTES, ModelStatus
from podpower.model.knn import KnnModel
from podpower.model.meters import no_meter_note
from podpower.registry.candidates import ALARMS, FAILED_CHECKS, VERDICTS
from podpower.registry.store import ModelStore, VersionInfo

NO_LONGER_OBSERVED = "no longer among the configured clusters: its energy counts for the 30 days of this summary"
_SERVE = ("promote", "rollback")  # changes after which the version is served


def model_status(store: ModelStore, version: str, model: KnnModel) -> ModelStatus:
    """Return the state of a served version, with its evaluation in words."""
    info = store.info(version)
    promotions = [change.at for change in store.history() if change.version == version and change.action in _SERVE]
    failed = [f"failed check: {name}" for name in _texts(info.metadata.get(FAILED_CHECKS))]
    return ModelStatus(
        version=version,
        trained_at=info.trained_at,
        promoted_at=promotions[-1] if promotions else None,
        labels_end_s=model.labels_end_s,
        pinned=store.pinned(),
        clusters=list(model.clusters)[:MOST_CLUSTERS],
        evaluation=_texts(info.metadata.get(VERDICTS)) or _figures(info),
        alarms=_bounded([*_texts(info.metadata.get(ALARMS)), *failed]),
    )


def cluster_notes(cluster: str, *, metered: bool | None, model: ModelStatus | None) -> list[str]:
    """Return what to know about a cluster's watts."""
    if metered is not False:
        return []
    return [no_meter_note(cluster, model.clusters if model else [])]


def _figures(info: VersionInfo) -> list[str]:
    """Return the kept figures of each split, of models that were stored without verdicts."""
    kept = info.metrics.get(EVALUATION)
    found = []
    for split in kept if isinstance(kept, dict) else ():
        texts = [(figure.name, kept_figure(info.metrics, split, figure)) for figure in (LOG_R2, WAPE, SUM, COVERAGE)]
        known = ", ".join(f"{name} {text}" for name, text in texts if text != UNKNOWN)
        found.append(f"{split}: {known or 'no figures'}")
    return _bounded(found)


def _texts(value: object) -> list[str]:
    return _bounded([str(text) for text in value]) if isinstance(value, list | tuple) else []


def _bounded(texts: Sequence[str]) -> list[str]:
    return [text[:MOST_CHARS] for text in texts[:MOST_NOTES]]
