"""Whether a day's model may be served: by itself on workloads it has not seen, and against the one that is served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dagster as dg
import polars as pl

from podpower.datasets.entries import Examples
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.evaluate import MODEL, UNSEEN, EvaluationReport
from podpower.evaluation.gate import Comparison, LabelShift, compare_known, compare_unknown, find_label_shift
from podpower.evaluation.splits import ENOUGH_PODS
from podpower.features.encoder import Encoder
from podpower.model.knn import KnnModel
from podpower.registry.store import ModelStore
from podpower.training.train import train
from podpower_assets.partitions import HOUR_S

BEATS, COVERS = "beats_the_constant_on_unseen_workloads", "intervals_cover"
NOT_WORSE, PLAUSIBLE = "no_worse_than_the_served_model", "labels_are_plausible"
CHECKS = {
    BEATS: "On workloads left out, log R2 is at least that of the geometric mean of the others.",
    COVERS: "At least half of the workloads left out lie in their 80 % interval.",
    NOT_WORSE: "On the same held-out pods, known and unknown, it is not worse than the model that is served.",
    PLAUSIBLE: "Not most of the known workloads draw something new at once: then the measurement changed.",
}
_MIN_COVERAGE = 0.5  # of intervals that claim 80 %; what is less is no interval
_TAIL = 0.2  # of the window's time is held out, less where the served model knows part of that


@dataclass(kw_only=True)
class Judgement:
    """What was found of a candidate while `served` was served (None: nothing was), and why it could not be judged."""

    served: str | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    label_shift: LabelShift | None = None
    note: str = ""

    @property
    def worse(self) -> bool:
        """Whether the champion stays."""
        return any(comparison.verdict == "worse" for comparison in self.comparisons)

    def lines(self) -> list[str]:
        """What people read."""
        said = [str(self.label_shift)] if self.label_shift else []
        return said + [str(comparison) for comparison in self.comparisons] + ([self.note] if self.note else [])


def judge(
    store: ModelStore,
    candidate: KnnModel,
    training_set: TrainingSet,
    *,
    encoded: Callable[[Encoder, Examples], tuple[Examples, Examples]],
) -> Judgement:
    """Compare a candidate, trained on all of `training_set`, with what is served.

    Where labels are doubted, nothing can be compared on them. On known workloads the candidate's recipe is judged: a
    twin that was trained on the rows before those held out. Where what is served is damaged, the last one before it
    that can be loaded stands for it. Where that has another encoder, `encoded` gives the held-out pods whose specs are
    known, and the same in the vectors of that encoder.
    """
    judgement = Judgement(served=store.last_served())
    if judgement.served is None:
        judgement.note = "nothing is served yet"
        return judgement
    version = store.champion()
    if version is None:
        judgement.note = f"neither {judgement.served} nor any model served before it can be loaded: any other is better"
        return judgement
    if version != judgement.served:
        judgement.note = f"{judgement.served}, which is served, is damaged: compared with {version}, served before it"
    encoder, champion = store.load(version)
    first_s, last_s = training_set.range_s
    young = champion.labels_end_s < last_s
    # No longer a tail than is needed: what is held out, the twin of a candidate lacks.
    cut_s = last_s - max(HOUR_S / 2, _TAIL * (last_s - first_s))
    cut_s = max(cut_s, champion.labels_end_s) if young else cut_s
    tail = training_set.where(pl.col("ts") > cut_s)
    pods, hours = tail.pods().at_most(ENOUGH_PODS), tail.examples().at_most(ENOUGH_PODS)
    champions = pods
    if champion.encoder_fingerprint != candidate.encoder_fingerprint:
        (pods, champions), (_, hours) = encoded(encoder, pods), encoded(encoder, hours)
    if not len(pods):
        judgement.note = f"{version} is of another encoder, and no spec of the held-out pods is stored"
        return judgement
    judgement.label_shift = find_label_shift(champion, hours)
    if judgement.label_shift.shifted:
        return judgement
    judgement.comparisons.append(compare_unknown(champion, candidate, pods, champions=champions))
    if not young:
        judgement.note = judgement.note or (
            "no labels are younger than the served model's, so only unknown workloads were compared"
        )
    elif (twin := _twin(training_set.where(pl.col("ts") <= cut_s))) is None:
        judgement.note = judgement.note or "nothing can be trained before the labels held out"
    else:
        judgement.comparisons.append(compare_known(champion, twin, pods, champions=champions))
    return judgement


def _twin(past: TrainingSet) -> KnnModel | None:
    try:
        return train(past)
    except InvalidInput:
        return None


def checks(report: EvaluationReport | None, judgement: Judgement) -> Iterator[dg.AssetCheckResult]:
    """Results of CHECKS. With too few workloads to hold any out, nothing speaks against a model, and that is said."""
    yield from _by_itself(report)
    yield dg.AssetCheckResult(
        check_name=NOT_WORSE,
        passed=not judgement.worse,
        description="; ".join(judgement.lines()),
        metadata={
            "served": judgement.served or "nothing",
            **{c.question.replace(" ", "_"): dg.MetadataValue.md(str(c)) for c in judgement.comparisons},
            **({"note": judgement.note} if judgement.note else {}),
        },
    )
    shift = judgement.label_shift
    yield dg.AssetCheckResult(
        check_name=PLAUSIBLE,
        passed=shift is None or not shift.shifted,
        description=str(shift) if shift else judgement.note,
        metadata={"known": shift.known, "changed": shift.changed, "factor": shift.factor} if shift else {},
    )


def _by_itself(report: EvaluationReport | None) -> Iterator[dg.AssetCheckResult]:
    split = report.split(UNSEEN) if report else None
    if split is None:
        note = {"note": "too few workloads to hold any out"}
        yield from (dg.AssetCheckResult(check_name=name, passed=True, metadata=note) for name in (BEATS, COVERS))
        return
    own, constant = split.scores[MODEL], split.scores["constant"]
    # On logs, where each workload counts alike; on watts one giant decides.
    beats = own.log_r2 is None or constant.log_r2 is None or own.log_r2 >= constant.log_r2
    yield dg.AssetCheckResult(
        check_name=BEATS,
        passed=beats,
        description=f"log R2 on workloads left out {_told(own.log_r2)}, of the constant {_told(constant.log_r2)}",
        metadata={"log_r2": _number(own.log_r2), "constant": _number(constant.log_r2)},
    )
    covers = own.coverage is None or own.coverage >= _MIN_COVERAGE
    told = "none" if own.coverage is None else f"{own.coverage:.0%}"
    yield dg.AssetCheckResult(
        check_name=COVERS,
        passed=covers,
        description=f"{told} of the workloads left out lie in their 80 % interval",
        metadata={"coverage": _number(own.coverage)},
    )


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
