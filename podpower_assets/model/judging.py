"""Whether a day's model may be served: by itself on workloads it has not seen, and against the one that is served."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
import polars as pl

from podpower.errors import InvalidInput, PodpowerError, Unavailable
from podpower.evaluation.evaluate import MODEL, UNSEEN, EvaluationReport
from podpower.evaluation.gate import Comparison, Doubt, compare_known, compare_unknown, doubt_labels
from podpower.learning.examples import pods_from_rows
from podpower.learning.tables import TrainingRows
from podpower.learning.training import train
from podpower.model.knn import KnnModel
from podpower.model.store import ModelStore
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
_LEAST_TAIL = 0.2  # of the window's time is held out where the served model knows all of it


@dataclass(kw_only=True)
class Judgement:
    """What was found of a candidate against the `champion` (None: nothing is served), and why it could not be
    judged.
    """

    champion: str | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    doubt: Doubt | None = None
    note: str = ""

    @property
    def worse(self) -> bool:
        """Whether the champion stays."""
        return any(comparison.verdict == "worse" for comparison in self.comparisons)

    def lines(self) -> list[str]:
        """What people read."""
        said = [str(comparison) for comparison in self.comparisons]
        return said + ([str(self.doubt)] if self.doubt else []) + ([self.note] if self.note else [])


def judge(store: ModelStore, candidate: KnnModel, rows: TrainingRows) -> Judgement:
    """Compare a candidate, trained on all of `rows`, with what is served.

    On known workloads the candidate's recipe is judged: a twin that was trained on the rows before those held out.
    """
    version = None
    try:
        version = store.latest()
        if version is None:
            return Judgement(note="nothing is served yet")
        _, champion = store.load(version)
    except Unavailable:
        raise
    except PodpowerError as error:
        return Judgement(champion=version, note=f"the served model cannot be loaded ({error}): any other is better")
    if champion.encoder_fingerprint != candidate.encoder_fingerprint:
        note = f"the served model {version} is of another encoder, so the two cannot predict the same vectors"
        return Judgement(champion=version, note=note)
    first_s, last_s = (float(s) for s in rows.frame.select(first=pl.col("ts").min(), last=pl.col("ts").max()).row(0))
    cut_s = max(first_s, champion.labels_end_s)
    young = cut_s < last_s
    if not young:
        cut_s = last_s - max(HOUR_S / 2, _LEAST_TAIL * (last_s - first_s))
    past, tail = rows.where(pl.col("ts") <= cut_s), rows.where(pl.col("ts") > cut_s)
    pods = pods_from_rows(tail)
    judgement = Judgement(champion=version, doubt=doubt_labels(champion, pods) if young else None)
    judgement.comparisons.append(compare_unknown(champion, candidate, pods))
    twin = _twin(past) if young else None
    if twin is not None:
        judgement.comparisons.append(compare_known(champion, twin, pods))
    else:
        judgement.note = "no labels are younger than the served model's, so only unknown workloads were compared"
    return judgement


def _twin(past: TrainingRows) -> KnnModel | None:
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
            "served": judgement.champion or "nothing",
            **{c.question.replace(" ", "_"): dg.MetadataValue.md(str(c)) for c in judgement.comparisons},
            **({"note": judgement.note} if judgement.note else {}),
        },
    )
    doubt = judgement.doubt
    yield dg.AssetCheckResult(
        check_name=PLAUSIBLE,
        passed=doubt is None or not doubt.doubtful,
        description=str(doubt) if doubt else "no labels are younger than the served model's",
        metadata={"known": doubt.known, "changed": doubt.changed} if doubt else {},
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
        metadata={"log_r2": _number(own.log_r2), "constant": _number(constant.log_r2)},
    )
    covers = own.coverage is None or own.coverage >= _MIN_COVERAGE
    yield dg.AssetCheckResult(check_name=COVERS, passed=covers, metadata={"coverage": _number(own.coverage)})


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
