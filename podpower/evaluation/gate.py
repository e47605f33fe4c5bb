"""The gate: decides whether the candidate of a day is promoted, without a person.

It is, unless the served model is pinned or of a later day, or a check of the candidate failed
(`podpower.evaluation.checks`), such as the comparison with the served model (`podpower.evaluation.champion`).
"""

import contextlib
from dataclasses import dataclass

from podpower.errors import InvalidInput, Refused
from podpower.registry.candidates import COMPARED_WITH, FAILED_CHECKS, PARTITION
from podpower.registry.promotions import UNPIN
from podpower.registry.store import ModelStore, VersionInfo


@dataclass(frozen=True, kw_only=True)
class GateOutcome:
    """Outcome of a candidate: promoted or not, why, and the version that is served now (None: there is none)."""

    candidate: VersionInfo
    promoted: bool
    reason: str
    serving: str | None


def candidates_of(store: ModelStore, day: str) -> list[VersionInfo]:
    """Return the candidates of a day, oldest first."""
    found = [version for version in store.versions() if version.metadata.get(PARTITION) == day]
    return sorted(found, key=lambda version: (version.created_at, version.version))


def promote_candidate(store: ModelStore, day: str) -> GateOutcome:
    """Promote the newest candidate of the day unless something forbids it; InvalidInput when there is none."""
    found = candidates_of(store, day)
    if not found:
        raise InvalidInput(f"no model of {day} in the store: materialize knn_model {day} first")
    candidate, served = found[-1], _served(store)
    objection = _objection(store, candidate, served)
    if objection:
        return GateOutcome(candidate=candidate, promoted=False, reason=objection, serving=served)
    # Compared with one version, it does not replace another that somebody promoted since.
    compared_with = candidate.metadata.get(COMPARED_WITH, ...) if served else ...
    store.promote(candidate.version, instead_of=compared_with)
    return GateOutcome(candidate=candidate, promoted=True, reason="promoted", serving=candidate.version)


def _objection(store: ModelStore, candidate: VersionInfo, served: str | None) -> str:
    """Return why the candidate must not be promoted, or nothing."""
    if candidate.version == served:
        return "it is already served"
    if store.pinned():
        return f"the served model is pinned: {UNPIN}"
    if str(candidate.metadata[PARTITION]) < _day(store, store.last_loadable()):
        return "a model of a later day is served"
    failed = candidate.metadata.get(FAILED_CHECKS)
    return f"checks failed: {', '.join(failed)}; see knn_model" if failed else ""


def _served(store: ModelStore) -> str | None:
    """Return the served version; None where there is none, or where it is damaged and has to be replaced."""
    with contextlib.suppress(Refused):
        version = store.served()
        return version if version and store.is_whole(version) else None
    return None


def _day(store: ModelStore, version: str | None) -> str:
    """Return the day of a version; empty where it has none."""
    return str(store.info(version).metadata.get(PARTITION, "")) if version else ""
