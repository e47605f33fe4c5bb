"""`knn_model`, a candidate for each day, and `promoted_model`, the candidate that the prediction service loads."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg
import msgspec

from podpower.checks import CheckResult
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.champion import ChampionComparison, compare_with_champion, load_champion, quarantined
from podpower.evaluation.checks import MODEL_CHECKS, check_model
from podpower.evaluation.evaluate import EvaluationReport, evaluate
from podpower.evaluation.figures import EVALUATION, kept_figures, kept_value
from podpower.evaluation.gate import promote_candidate
from podpower.evaluation.names import FORWARD, UNSEEN
from podpower.features.encoder import Encoder
from podpower.registry.candidates import (
    ALARMS,
    COMPARED_WITH,
    COMPARISON,
    FAILED_CHECKS,
    PARTITION,
    QUARANTINED,
    VERDICTS,
)
from podpower.training.train import train
from podpower_assets import metadata
from podpower_assets.automation import Pace, Remake
from podpower_assets.checks import check_specs
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.model.pages import link, page_of
from podpower_assets.model.report import FIRST_FIGURES, first_metadata, report_metadata
from podpower_assets.model.window import reencode, window_of, window_rows
from podpower_assets.partitions import Partitions
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, TRAINING, translate_errors
from podpower_assets.resources import Models, Tables
from podpower_assets.upstream import Upstream

NAME, PROMOTED = "knn_model", "promoted_model"
MOST_NAMED = 100  # specs in quarantine that a manifest names


def knn_model(clusters: Sequence[Cluster], partitions: Partitions, pace: Pace) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""
    upstream = window_of(clusters, partitions)

    @dg.asset(
        **COMMON,
        name=NAME,
        group_name=FIRST.group,
        kinds={"scikitlearn", "numpy"},
        partitions_def=partitions.days,
        code_version="1",
        deps=[dg.AssetDep(key, partition_mapping=partitions.window) for key in upstream.window],
        pool=TRAINING,
        automation_condition=Remake(upstream=upstream, lookback_days=partitions.lookback_days, pace=pace),
        check_specs=check_specs(dg.AssetKey(NAME), partitions.days, blocking=MODEL_CHECKS),
        description=(
            "A KNN model of the window that ends with the day: a candidate, evaluated on held-out workloads, compared "
            "with the served model on the same held-out pods, and promoted if it is not worse."
        ),
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables, models: Models) -> Iterator[Any]:
        """Train and evaluate the candidate of each day."""
        own = [tables.of(cluster) for cluster in clusters]
        with translate_errors():
            train_day = partial(
                _train_day,
                own,
                models,
                tables.require_encoder(),
                window_days=upstream.window_days,
                run_id=context.run.run_id,
            )
            yield from per_partition(context, tables, upstream, train_day)

    return asset


def _train_day(
    tables: Sequence[Tables], models: Models, encoder: Encoder, day: str, *, window_days: int, run_id: str
) -> Partition:
    """Store the candidate of the day with its evaluation."""
    rows, window = window_rows(tables, day, window_days=window_days, encoder=encoder)
    training_set, store = TrainingSet.of(rows), models.open()
    champion = load_champion(store)
    quarantine = quarantined(store, champion, training_set)
    kept = quarantine.usable()
    report = evaluate_if_possible(kept)
    model = train(kept, notes=[str(quarantine)] if quarantine.specs else [], node_types=models.node_types)
    model.metrics[EVALUATION] = kept_figures(report.splits if report else ())
    compared = compare_with_champion(
        champion, model, training_set, quarantine=quarantine, reencode=partial(reencode, tables)
    )
    results = list(check_model(report, compared))
    origin = {PARTITION: day, "dagster_run_id": run_id, "window": window.recorded()}
    page = page_of(report, title=f"How good is the model of {day}?")
    version = store.add(encoder, model, metadata=origin | _verdict(report, compared, results), report=page)
    known: dict[str, Any] = {
        **first_metadata(report),
        **link(models, version),
        "model_version": version,
        **window.shown(),
        "training_size": model.training_size,
        "notes": "; ".join(model.notes) or "none",
        "quarantined": len(quarantine.specs),
        "comparison": metadata.bullets(compared.lines()),
    }
    return Partition(
        version=version,
        metadata=known | report_metadata(report),
        # A rejected candidate is a normal outcome: a warning, which fails no run. `promoted_model` records it.
        checks=lambda: [replace(result, warning=True) for result in results],
        unread=window.missing_hours,
    )


def _verdict(
    report: EvaluationReport | None, compared: ChampionComparison, results: list[CheckResult]
) -> dict[str, Any]:
    """Return the part of a candidate's metadata that decides about its promotion."""
    return {
        "evaluation": {} if report is None else {s.name: msgspec.to_builtins(s.scores) for s in report.splits},
        QUARANTINED: [spec.workload for spec in compared.quarantine.specs[:MOST_NAMED]] if compared.quarantine else [],
        COMPARED_WITH: compared.served,
        COMPARISON: compared.lines(),
        VERDICTS: [] if report is None else [str(verdict) for verdict in report.verdicts],
        ALARMS: [] if report is None else list(report.alarms),
        FAILED_CHECKS: [result.name for result in results if not result.passed],
    }


def evaluate_if_possible(training_set: TrainingSet) -> EvaluationReport | None:
    """Evaluate on held-out workloads and forward in time; None where there are too few workloads to hold any out."""
    try:
        return evaluate(training_set, splits=(UNSEEN, FORWARD))
    except InvalidInput:
        return None


def promoted_model(partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset."""
    upstream = Upstream(same=(dg.AssetKey(NAME),))

    @dg.asset(
        **COMMON,
        name=PROMOTED,
        group_name=FIRST.group,
        kinds={"joblib"},
        partitions_def=partitions.days,
        code_version="1",
        deps=[NAME],
        automation_condition=Remake(upstream=upstream, lookback_days=partitions.lookback_days, checks_must_pass=True),
        description="The candidate of the day, served from now on; never in place of a model of a later day.",
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables, models: Models) -> Iterator[Any]:
        """Promote the newest candidate of each day."""
        with translate_errors():
            yield from per_partition(context, tables, upstream, partial(_promote_day, models))

    return asset


def _promote_day(models: Models, day: str) -> Partition:
    """Promote the newest candidate of the day, and remove what the store need not keep."""
    store = models.open()
    promotion = promote_candidate(store, day)
    removed = store.prune(keep=models.keep)
    known = {
        **{
            f.key: value
            for f in FIRST_FIGURES
            if (value := kept_value(promotion.candidate.metrics, UNSEEN, f)) is not None
        },
        "serving": promotion.serving or "nothing",
        **(link(models, promotion.serving) if promotion.serving else {}),
        "candidate": promotion.candidate.version,
        "promoted": promotion.promoted,
        "why": promotion.reason,
        "comparison": metadata.bullets(promotion.candidate.metadata.get(COMPARISON) or ()),
        "removed": len(removed),
    }
    return Partition(version=promotion.candidate.version, metadata=known)
