"""`model_evaluation`: errors of what was served on the day, and of such models on held-out workloads."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import msgspec
from upath import UPath

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.champion import load_champion, quarantined
from podpower.evaluation.checks import DRIFT_CHECKS, SERVED_CHECKS, check_served
from podpower.evaluation.evaluate import UNITS, EvaluationReport, evaluate
from podpower.evaluation.names import TRANSFER, UNSEEN
from podpower.evaluation.pages import page_of_day, sealed_page
from podpower.evaluation.report import render
from podpower.evaluation.served import ServedEvaluation, evaluate_served
from podpower.features.encoder import Encoder
from podpower.io.files import write_atomically
from podpower_assets.checks import check_specs
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.model.report import figures, first_metadata, report_metadata
from podpower_assets.model.window import reencode, window_of, window_rows
from podpower_assets.partitions import Partitions, day_end_s, day_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, TRAINING, translate_errors
from podpower_assets.resources import Models, Tables

NAME = "model_evaluation"


def model_evaluation(clusters: Sequence[Cluster], partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""
    upstream = window_of(clusters, partitions)

    @dg.asset(
        **COMMON,
        name=NAME,
        group_name=FIRST.group,
        kinds={"scikitlearn", "html"},
        partitions_def=partitions.days,
        code_version="2",
        deps=[dg.AssetDep(key, partition_mapping=partitions.window) for key in upstream.window],
        pool=TRAINING,
        check_specs=check_specs(dg.AssetKey(NAME), partitions.days, warning=DRIFT_CHECKS | SERVED_CHECKS),
        description=(
            "The versions served on the day against its labels, workloads and clusters held out in turn, and what "
            "each block of features is worth; as a page with plots beside the models, which the service shows."
        ),
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables, models: Models) -> Iterator[Any]:
        """Evaluate each day."""
        own = [tables.of(cluster) for cluster in clusters]
        with translate_errors():
            evaluate_day = partial(
                _evaluate_day, own, models, tables.require_encoder(), window_days=upstream.window_days
            )
            yield from per_partition(context, tables, upstream, evaluate_day)

    return asset


def _evaluate_day(
    tables: Sequence[Tables], models: Models, encoder: Encoder, day: str, *, window_days: int
) -> Partition:
    """Write the page of the day."""
    rows, window = window_rows(tables, day, window_days=window_days, encoder=encoder)
    training_set, store = TrainingSet.of(rows), models.open()
    served = evaluate_served(
        store, training_set, start_s=day_start_s(day), end_s=day_end_s(day), reencode=partial(reencode, tables)
    )
    report = _on_held_out(quarantined(store, load_champion(store), training_set, record=False).kept)
    splits = [served.split, *report.splits] if served.split else report.splits
    report = msgspec.structs.replace(report, splits=splits, notes=[*served.notes, *report.notes])
    page = page_of_day(models.root, day)
    content = sealed_page(render(report, title=f"How good were the predictions of {day}?"))
    write_atomically(page, content)
    version = hashlib.sha256(content).hexdigest()[:16]
    link = dg.MetadataValue.url(f"{models.api_url}/evaluations/{day}")
    known = _metadata(report, served, page) | {"report": link, "missing_hours": window.shown()["missing_hours"]}
    return Partition(version=version, metadata=known, checks=lambda: check_served(served), unread=window.missing_hours)


def _on_held_out(training_set: TrainingSet) -> EvaluationReport:
    """Evaluate training on held-out workloads and clusters; a report without splits where nothing can be trained."""
    try:
        return evaluate(training_set, splits=(UNSEEN, TRANSFER), ablation=True)
    except InvalidInput as error:
        target, step_seconds = training_set.target, training_set.step_seconds
        return EvaluationReport(
            target=target, unit=UNITS[target], step_seconds=step_seconds, splits=[], notes=[str(error)]
        )


def _metadata(report: EvaluationReport, served: ServedEvaluation, page: UPath) -> dict[str, Any]:
    known = {
        **first_metadata(report),
        "page": dg.MetadataValue.path(str(page)),
        "versions": ", ".join(served.versions) or "none",
        **report_metadata(report),
        **figures(report),
    }
    if report.notes:
        known["notes"] = "; ".join(report.notes)
    drift = msgspec.to_builtins(served.drift)
    return known | {f"drift_{name}": value for name, value in drift.items() if value is not None}
