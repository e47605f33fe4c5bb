"""`model_evaluation`: how good the model of the day before was on this day, and how good such models are at all."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import msgspec
import polars as pl
from upath import UPath

from podpower.datasets.entries import Examples
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput, PodpowerError
from podpower.evaluation.drift import LEAST_COVERED, MOST_UNKNOWN, Drift, drift_of
from podpower.evaluation.evaluate import (
    MODEL,
    TRANSFER,
    UNSEEN,
    EvaluationReport,
    SplitReport,
    evaluate,
    evaluate_model,
)
from podpower.evaluation.report import render
from podpower.features.encoder import Encoder
from podpower.io.files import write_atomically
from podpower.model.knn import KnnModel
from podpower.registry.store import ModelStore
from podpower_assets import metadata
from podpower_assets.model.assets import NAME as MODEL_ASSET
from podpower_assets.model.assets import PARTITION, shown
from podpower_assets.model.window import encoded_by, window_rows
from podpower_assets.partitions import DAILY, HOUR_S, day_end_s, day_key
from podpower_assets.policies import COMMON, deciding
from podpower_assets.resources import Models, Tables

NAME = "model_evaluation"
ERRORS, SPECS = "errors_have_not_drifted", "specs_have_not_drifted"
DAY_AFTER = "day after"


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="model",
    kinds={"scikitlearn", "html"},
    partitions_def=DAILY,
    code_version="1",
    deps=[MODEL_ASSET],
    check_specs=[
        dg.AssetCheckSpec(ERRORS, asset=NAME, description="Most known workloads stay inside their 80 % interval."),
        dg.AssetCheckSpec(SPECS, asset=NAME, description="Most workloads are like something that was measured."),
    ],
    description=(
        "The model of the day before against the labels of this day, workloads and clusters left out in turn, and what "
        "each block of features is worth; as a page with plots beside the tables."
    ),
)
def model_evaluation(
    context: dg.AssetExecutionContext, tables: Tables, models: Models
) -> Iterator[dg.MaterializeResult]:
    """Evaluate each day."""
    drift = Drift(workloads=0)
    with deciding():
        encoder = tables.encoder()
        if encoder is None:
            raise InvalidInput("no encoder: materialize `encoder` first")
        store = models.open()
        for day in context.partition_keys:
            rows, _ = window_rows(tables, day, window_days=models.window_days, encoder=encoder)
            training_set = TrainingSet.of(rows)
            report = evaluate(training_set, splits=(UNSEEN, TRANSFER), ablation=True)
            start_s = day_end_s(day) - 24 * HOUR_S
            before = model_before(store, day)
            pods = _pods_since(start_s, before, training_set, tables) if before else None
            if before is not None and pods is not None:
                split, drift = _day_after(before[1], pods, start_s)
                report = msgspec.structs.replace(report, splits=[split, *report.splits])
            else:
                note = f"{DAY_AFTER}: no model of the day before, or no labels since"
                report = msgspec.structs.replace(report, notes=[note, *report.notes])
            page = UPath(tables.root) / NAME / f"{day}.html"
            write_atomically(page, render(report, title=f"How good were the predictions of {day}?").encode())
            context.add_asset_metadata(_told(report, drift, page), partition_key=day)
    yield dg.MaterializeResult(check_results=list(checks(drift)))


def model_before(store: ModelStore, day: str) -> tuple[Encoder, KnnModel] | None:
    """The youngest model of the day before, with its encoder; None where there is none that can be read."""
    eve = day_key(day_end_s(day) - timedelta(hours=36).total_seconds())
    versions = [v for v in store.versions() if v.metadata.get(PARTITION) == eve]
    for info in sorted(versions, key=lambda v: (v.created_at, v.version), reverse=True):
        try:
            return store.load(info.version)
        except PodpowerError:
            continue  # damaged: the one before it tells as much
    return None


def _pods_since(
    start_s: float, before: tuple[Encoder, KnnModel], training_set: TrainingSet, tables: Tables
) -> Examples | None:
    """What was measured since then that the model before does not know, in the vectors of its encoder; None: nothing
    was.
    """
    encoder, model = before
    young = training_set.where(pl.col("ts") > max(start_s, model.labels_end_s))
    if not len(young):
        return None
    pods = young.pods()
    if encoder.fingerprint != pods.encoder_fingerprint:
        _, pods = encoded_by(tables, encoder, pods)
    return pods if len(pods) else None


def _day_after(model: KnnModel, pods: Examples, start_s: float) -> tuple[SplitReport, Drift]:
    return evaluate_model(model, pods, name=DAY_AFTER, at_s=start_s), drift_of(model, pods)


def checks(drift: Drift) -> Iterator[dg.AssetCheckResult]:
    """Whether the cluster still is what the model knows; a failure makes the sensor `drifted` ask for a new model."""
    shares = {name: value for name, value in msgspec.to_builtins(drift).items() if value is not None}
    yield dg.AssetCheckResult(
        check_name=ERRORS,
        passed=not drift.errors,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"fewer than {LEAST_COVERED:.0%} of known workloads stay inside their 80 % interval"
        if drift.errors
        else None,
        metadata=shares,
    )
    yield dg.AssetCheckResult(
        check_name=SPECS,
        passed=not drift.specs,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"more than {MOST_UNKNOWN:.0%} of workloads are like nothing that was measured"
        if drift.specs
        else None,
        metadata=shares,
    )


def _told(report: EvaluationReport, drift: Drift, page: UPath) -> dict[str, Any]:
    """Numbers, which the UI draws over the days, tables and plots."""
    said: dict[str, Any] = {"report": dg.MetadataValue.path(str(page)), **shown(report)}
    for split in report.splits:
        name, score = split.name.replace(" ", "_"), split.scores[MODEL]
        for figure in ("wape", "log_r2", "rank_correlation", "coverage"):
            value = getattr(score, figure)
            if value is not None:
                said[f"{name}_{figure}"] = float(value)
        if split.ablation:
            said["ablation"] = metadata.records(
                [
                    {"without": block, "wape": score.wape, "log_r2": score.log_r2, "rank": score.rank_correlation}
                    for block, score in split.ablation.items()
                ]
            )
    if report.notes:
        said["notes"] = "; ".join(report.notes)
    return said | {f"drift_{k}": v for k, v in msgspec.to_builtins(drift).items() if v is not None}
