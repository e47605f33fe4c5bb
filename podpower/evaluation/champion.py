"""Load the champion (the served model), put deviating labels into quarantine, and choose what candidate and champion
are compared on. The comparisons themselves are in `podpower.evaluation.comparison`.
"""

from dataclasses import dataclass, field

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.comparison import (
    LEAST_COMPARED,
    Comparison,
    LabelShift,
    compare_known,
    compare_unknown,
    find_label_shift,
)
from podpower.evaluation.quarantine import Quarantine, find_quarantined
from podpower.evaluation.served import Reencode
from podpower.evaluation.splits import ENOUGH_PODS
from podpower.features.encoder import Encoder
from podpower.hours import HOUR_S
from podpower.model.knn import KnnModel
from podpower.registry.store import ModelStore
from podpower.training.train import train

_TAIL = 0.2  # share of the window that is held out; less where the champion knows part of it


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that candidates are compared with.

    `served` is the served version, `version` the one in `fitted`: `served` itself or, where that is damaged, the last
    one served before it that can be loaded. Each is None where there is none; `note` has the reason.
    """

    served: str | None = None
    version: str | None = None
    fitted: tuple[Encoder, KnnModel] | None = None
    note: str = ""


@dataclass(kw_only=True)
class ChampionComparison:
    """Comparison of a candidate with `served`, the served version (None: there is none), and the quarantine of its
    labels; `note` explains what is missing.
    """

    served: str | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    label_shift: LabelShift | None = None
    quarantine: Quarantine | None = None
    note: str = ""

    @property
    def worse(self) -> bool:
        """True when a comparison found the candidate worse."""
        return any(comparison.verdict == "worse" for comparison in self.comparisons)

    @property
    def quarantined(self) -> str:
        """The specs in quarantine in words; empty where there are none."""
        return str(self.quarantine) if self.quarantine and self.quarantine.specs else ""

    def lines(self) -> list[str]:
        """Return the comparison as sentences."""
        parts = [self.label_shift, self.quarantined, *self.comparisons, self.note]
        return [str(part) for part in parts if part]


def load_champion(store: ModelStore) -> Champion:
    """Return the champion of a store."""
    served = store.last_served()
    if served is None:
        return Champion(note="no model is served yet")
    found = store.last_loaded()
    if found is None:
        note = f"neither {served} nor a model served before it can be loaded: any other is better"
        return Champion(served=served, note=note)
    version, fitted = found
    note = f"the served model {served} is damaged: compared with {version}, which was served before it"
    return Champion(served=served, version=version, fitted=fitted, note="" if version == served else note)


def quarantined(store: ModelStore, champion: Champion, training_set: TrainingSet, *, record: bool = True) -> Quarantine:
    """Return the training set without the labels in quarantine, and put the list of specs into the store."""
    if champion.fitted is None:
        return Quarantine(specs=[], accepted=[], kept=training_set)
    found = find_quarantined(champion.fitted[1], training_set, before=store.quarantine.last())
    if record:
        store.quarantine.record(found.specs, accepted=found.accepted, through_s=training_set.range_s[1])
    return found


def compare_with_champion(
    champion: Champion, candidate: KnnModel, training_set: TrainingSet, *, quarantine: Quarantine, reencode: Reencode
) -> ChampionComparison:
    """Compare a candidate, trained on what `quarantine` keeps of `training_set`, with the champion.

    Where labels have shifted, those in quarantine included, nothing is compared on them. On known workloads the recipe
    of the candidate is compared: a twin, trained on the rows up to the held-out ones. Where the champion has another
    encoder, `reencode` gives it vectors of its own.
    """
    compared = ChampionComparison(served=champion.served, quarantine=quarantine, note=champion.note)
    if champion.fitted is None:
        return compared
    encoder, model = champion.fitted
    cut_s = _cut_s(training_set, model)
    hours = training_set.split(cut_s)[1].examples().at_most(ENOUGH_PODS)
    other_encoder = model.encoder_fingerprint != candidate.encoder_fingerprint
    if other_encoder:
        _, hours = reencode(encoder, hours)
    if not len(hours):
        compared.note = f"{champion.version} has another encoder, and no spec of the held-out pods is stored"
        return compared
    compared.label_shift = find_label_shift(model, hours)
    past, tail = quarantine.kept.split(cut_s)
    if compared.label_shift.shifted or tail.frame.is_empty():
        return compared
    pods = tail.pods().at_most(ENOUGH_PODS)
    pods, champions = reencode(encoder, pods) if other_encoder else (pods, pods)
    compared.comparisons.append(compare_unknown(model, candidate, pods, champions=champions))
    if model.labels_end_s > cut_s:
        compared.note = compared.note or "no labels are newer than the champion's: only unknown workloads were compared"
    elif (twin := _trained(past)) is None:
        compared.note = compared.note or "there are too few labels before the held-out ones to train on"
    else:
        compared.comparisons.append(compare_known(model, twin, pods, champions=champions))
    return compared


def _cut_s(training_set: TrainingSet, champion: KnnModel) -> float:
    """Return the time after which labels are held out: no longer than needed, since the twin lacks them. It is before
    the end of the champion's labels only where too little begins after that.
    """
    first_s, last_s = training_set.range_s
    cut_s = last_s - max(HOUR_S / 2, _TAIL * (last_s - first_s))
    _, newer = training_set.split(champion.labels_end_s)
    return max(cut_s, champion.labels_end_s) if newer.workloads >= LEAST_COMPARED else cut_s


def _trained(past: TrainingSet) -> KnnModel | None:
    try:
        return train(past)
    except InvalidInput:
        return None
