"""`knn_model`, a candidate for each day, and `promoted_model`, what the prediction service picks up."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import msgspec

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput, Refused
from podpower.evaluation import plots
from podpower.evaluation.evaluate import FORWARD, UNSEEN, EvaluationReport, SplitReport, evaluate
from podpower.registry.store import UNPIN, ModelStore, VersionInfo
from podpower.training.train import train
from podpower_assets import metadata
from podpower_assets.model.checks import CHECKS, Judgement, checks, judge
from podpower_assets.model.window import encoded_by, window_rows
from podpower_assets.partitions import DAILY
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, deciding
from podpower_assets.resources import Models, Tables
from podpower_assets.settings import LOADED
from podpower_assets.training_rows.assets import NAME as ROWS

NAME, PROMOTED = "knn_model", "promoted_model"
# Keys of the metadata in the store: which day a model is of, which one it was compared with, which checks it failed.
PARTITION, JUDGED_AGAINST, FAILED = "partition", "judged_against", "failed_checks"


def look_back(window_days: int) -> dg.TimeWindowPartitionMapping:
    """The days of hours that a day's model is trained on; hours that were never made are done without."""
    return dg.TimeWindowPartitionMapping(start_offset=1 - window_days, allow_nonexistent_upstream_partitions=True)


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="model",
    kinds={"scikitlearn", "numpy"},
    partitions_def=DAILY,
    code_version="1",
    deps=[dg.AssetDep(ROWS, partition_mapping=look_back(LOADED.assets.window_days))],
    automation_condition=(FOLLOWS_ITS_DEPENDENCIES & dg.AutomationCondition.in_latest_time_window()) | FAILED_BEFORE,
    check_specs=[dg.AssetCheckSpec(name, asset=NAME, blocking=True, description=asks) for name, asks in CHECKS.items()],
    description=(
        "A KNN model of the window that ends with the day: a candidate, evaluated on workloads left out, compared with "
        "the served model on the same held-out pods, and promoted if it is not worse."
    ),
)
def knn_model(context: dg.AssetExecutionContext, tables: Tables, models: Models) -> Iterator[dg.MaterializeResult]:
    """Train and evaluate each day's candidate."""
    results: list[dg.AssetCheckResult] = []
    with deciding():
        encoder = tables.encoder()
        if encoder is None:
            raise InvalidInput("no encoder: materialize `encoder` first")
        store = models.open()
        for day in context.partition_keys:
            rows, found = window_rows(tables, day, window_days=models.window_days, encoder=encoder)
            training_set = TrainingSet.of(rows)
            report, model = evaluated(training_set), train(training_set, notes=found["label_notes"])
            judgement = judge(store, model, training_set, encoded=partial(encoded_by, tables))
            results = list(checks(report, judgement))
            known = {PARTITION: day, "dagster_run_id": context.run.run_id, "window": found}
            version = store.add(encoder, model, metadata=known | _verdict(report, judgement, results))
            said: dict[str, Any] = {
                "model_version": version, **{name: value for name, value in found.items() if name != "label_notes"},
                "training_size": model.training_size, "notes": "; ".join(model.notes) or "none",
                "judgement": dg.MetadataValue.md("\n".join(f"- {line}" for line in judgement.lines()) or "none"),
            }  # fmt: skip
            if report is not None:
                said |= shown(report)
            context.add_asset_metadata(said, partition_key=day)
    yield dg.MaterializeResult(check_results=results)


def _verdict(
    report: EvaluationReport | None, judgement: Judgement, results: list[dg.AssetCheckResult]
) -> dict[str, Any]:
    """What the store keeps beside a candidate: how good it was found, and why it may be served or not."""
    return {
        "evaluation": {} if report is None else {s.name: msgspec.to_builtins(s.scores) for s in report.splits},
        JUDGED_AGAINST: judgement.served,
        "judgement": judgement.lines(),
        FAILED: [result.check_name for result in results if not result.passed],
    }


def evaluated(training_set: TrainingSet) -> EvaluationReport | None:
    """The evaluation on held-out workloads and forward in time; None where there are too few to hold any out."""
    try:
        return evaluate(training_set, splits=(UNSEEN, FORWARD))
    except InvalidInput:
        return None


def shown(report: EvaluationReport) -> dict[str, Any]:
    """Scores beside the baselines, and what was predicted against what was measured."""
    said: dict[str, Any] = {}
    for split in report.splits:
        name = split.name.split()[0]  # unseen, time: the UI has little room for names
        said[f"{name}_scores"] = metadata.records(_score_rows(split))
        said[f"{name}_scatter"] = metadata.plot(plots.predicted_against_measured(split, unit=report.unit))
        said[f"{name}_residuals"] = metadata.plot(plots.residuals(split, unit=report.unit))
    return said


def _score_rows(split: SplitReport) -> list[dict[str, str | float | int | None]]:
    columns = ("count", "wape", "mae", "mdape", "log_r2", "rank_correlation", "coverage")
    return [
        {"model": name, **{c: _rounded(getattr(score, c)) for c in columns}} for name, score in split.scores.items()
    ]


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, 3) if isinstance(value, float) else value


@dg.asset(
    **COMMON,
    name=PROMOTED,
    group_name="model",
    kinds={"joblib"},
    partitions_def=DAILY,
    code_version="1",
    deps=[NAME],
    automation_condition=(FOLLOWS_ITS_DEPENDENCIES | FAILED_BEFORE)
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    description="The day's model, put in front of the prediction service. Never an older day's in place of a newer.",
)
def promoted_model(context: dg.AssetExecutionContext, models: Models) -> dg.MaterializeResult:
    """Point the store at the newest day's candidate."""
    with deciding():
        store = models.open()
        candidate = latest_of(store, context.partition_keys[-1])
        served, day, held = _served(store), _day(store, store.champion()), store.pinned()
        older = str(candidate.metadata[PARTITION]) < day
        promote = candidate.version != served and not older and not held and not candidate.metadata.get(FAILED)
        if promote:
            # Judged against one model, it does not replace another that somebody promoted since.
            instead_of = candidate.metadata.get(JUDGED_AGAINST, ...) if served else ...
            store.promote(candidate.version, instead_of=instead_of)
        why = "promoted" if promote else _why_not(candidate, served, older=older, held=held)
        removed = store.prune(keep=models.keep)
    judgement = candidate.metadata.get("judgement") or ["none"]
    said = {
        "candidate": candidate.version,
        "promoted": promote,
        "why": why,
        "judgement": dg.MetadataValue.md("\n".join(f"- {line}" for line in judgement)),
        "serving": candidate.version if promote else (served or "nothing"),
        "removed": len(removed),
    }
    return dg.MaterializeResult(metadata=said)


def _served(store: ModelStore) -> str | None:
    """What is served; None where nothing is, or where it is damaged and so has to be replaced."""
    with contextlib.suppress(Refused):
        version = store.latest()
        return version if version and store.is_whole(version) else None
    return None


def _day(store: ModelStore, version: str | None) -> str:
    """The day that a version is of ("": not told)."""
    return str(store.info(version).metadata.get(PARTITION, "")) if version else ""


def _why_not(candidate: VersionInfo, served: str | None, *, older: bool, held: bool) -> str:
    if candidate.version == served:
        return "it is served already"
    if held:
        return f"what is served is pinned: {UNPIN}"
    if older:
        return "a model of a younger day is served"
    return f"checks failed: {', '.join(candidate.metadata[FAILED])}; see knn_model"


def latest_of(store: ModelStore, day: str) -> VersionInfo:
    """The candidate of the day that was stored last."""
    candidates = [v for v in store.versions() if v.metadata.get(PARTITION) == day]
    if not candidates:
        raise InvalidInput(f"no model of {day} in the store: materialize knn_model {day} first")
    return max(candidates, key=lambda v: (v.created_at, v.version))
