"""`knn_model`, a candidate for each day, and `promoted_model`, what the prediction service picks up."""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.model import plots
from podpower.model.evaluation import MODEL, EvaluationReport, SplitReport, evaluate
from podpower.model.store import ModelStore, VersionInfo
from podpower.model.training import train
from podpower.rows import condensed
from podpower_assets import showing
from podpower_assets.partitions import DAILY, HOUR_S, day_end_s, hours_between
from podpower_assets.policies import COMMON, FOLLOWS_ITS_DEPENDENCIES, deciding
from podpower_assets.resources import Models, Tables, models_from
from podpower_assets.training_rows.assets import NAME as ROWS

NAME, PROMOTED = "knn_model", "promoted_model"
PARTITION = "partition"  # key of the metadata in the store that says which day a model is of


def look_back(window_days: int) -> dg.TimeWindowPartitionMapping:
    """The days of hours that a day's model is trained on; hours that were never made are done without."""
    return dg.TimeWindowPartitionMapping(start_offset=1 - window_days, allow_nonexistent_upstream_partitions=True)


def window_rows(tables: Tables, day: str, *, window_days: int, encoder: Encoder) -> tuple[pl.DataFrame, dict[str, int]]:
    """The condensed rows of the window that ends with the day, and how many hours and rows of what kind there were."""
    end_s = day_end_s(day)
    parts, found = [], {"hours": 0, "rows": 0, "rows_of_other_encoders": 0}
    for hour in hours_between(end_s - window_days * 24 * HOUR_S, end_s):
        rows = tables.scan(ROWS, hour)
        if rows is None:
            continue
        own = pl.col("encoder_fingerprint") == encoder.fingerprint
        total, fitting = rows.select(pl.len(), own.sum().alias("own")).collect().row(0)
        found["hours"] += 1
        found["rows"] += fitting
        found["rows_of_other_encoders"] += total - fitting
        parts.append(condensed(rows.filter(own)))
    if not found["rows"]:
        raise InvalidInput(
            f"no training rows of this encoder in the {window_days} days that end with {day}: materialize training_rows"
            + (" and features again, they are of another encoder" if found["rows_of_other_encoders"] else "")
        )
    return pl.concat(parts), found


def checks(report: EvaluationReport | None) -> list[dg.AssetCheckResult]:
    """Whether a model with this evaluation may be served. With too few workloads to evaluate, nothing speaks against
    it, and that is said.
    """
    if report is None:
        note = {"note": "too few workloads to hold any out"}
        return [dg.AssetCheckResult(check_name=n, passed=True, metadata=note) for n in (_BEATS, _SANE)]
    unseen = report.splits[0].scores
    own, constant = unseen[MODEL], unseen["constant"]
    # On logs, where each workload counts alike; on watts one giant decides.
    beats = own.log_r2 is None or constant.log_r2 is None or own.log_r2 >= constant.log_r2
    sane = own.coverage is None or own.coverage >= _MIN_COVERAGE
    return [
        dg.AssetCheckResult(
            check_name=_BEATS,
            passed=beats,
            metadata={"log_r2": _number(own.log_r2), "constant": _number(constant.log_r2)},
        ),
        dg.AssetCheckResult(check_name=_SANE, passed=sane, metadata={"coverage": _number(own.coverage)}),
    ]


_BEATS, _SANE = "beats_the_constant_on_unseen_workloads", "intervals_cover"
_MIN_COVERAGE = 0.5  # of intervals that claim 80 %; what is less is no interval


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="model",
    kinds={"scikitlearn", "numpy"},
    partitions_def=DAILY,
    code_version="1",
    deps=[dg.AssetDep(ROWS, partition_mapping=look_back(models_from(os.environ).window_days))],
    automation_condition=FOLLOWS_ITS_DEPENDENCIES & dg.AutomationCondition.in_latest_time_window(),
    check_specs=[
        dg.AssetCheckSpec(_BEATS, asset=NAME, blocking=True),
        dg.AssetCheckSpec(_SANE, asset=NAME, blocking=True),
    ],
    description="A KNN model of the window that ends with the day: evaluated, stored, served once promoted.",
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
            model = train(rows)
            report = evaluated(rows)
            version = store.add(encoder, model, metadata={PARTITION: day, "dagster_run_id": context.run.run_id})
            results = checks(report)
            said: dict[str, Any] = {
                "model_version": version, **found,
                "training_size": model.training_size, "notes": "; ".join(model.notes) or "none",
            }  # fmt: skip
            if report is not None:
                said |= shown(report)
            context.add_asset_metadata(said, partition_key=day)
    yield dg.MaterializeResult(check_results=results)


def evaluated(rows: pl.DataFrame) -> EvaluationReport | None:
    """The evaluation on held-out workloads and forward in time; None where there are too few to hold any out."""
    try:
        return evaluate(rows)
    except InvalidInput:
        return None


def shown(report: EvaluationReport) -> dict[str, Any]:
    """Scores beside the baselines, and what was predicted against what was measured."""
    said: dict[str, Any] = {}
    for split in report.splits:
        name = split.name.split()[0]  # unseen, time: the UI has little room for names
        said[f"{name}_scores"] = showing.records(_score_rows(split))
        said[f"{name}_scatter"] = showing.plot(plots.predicted_against_measured(split, unit=report.unit))
        said[f"{name}_residuals"] = showing.plot(plots.residuals(split, unit=report.unit))
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
    automation_condition=FOLLOWS_ITS_DEPENDENCIES & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    description="The day's model, put in front of the prediction service. Never an older day's in place of a newer.",
)
def promoted_model(context: dg.AssetExecutionContext, models: Models) -> dg.MaterializeResult:
    """Point the store at the newest day's candidate."""
    with deciding():
        store = models.open()
        candidate = latest_of(store, context.partition_keys[-1])
        served = store.latest()
        newer = store.info(served).metadata.get(PARTITION, "") if served else ""
        promote = candidate.version != served and str(candidate.metadata[PARTITION]) >= str(newer)
        if promote:
            store.promote(candidate.version)
    said = {
        "candidate": candidate.version,
        "promoted": promote,
        "serving": candidate.version if promote else (served or candidate.version),
    }
    return dg.MaterializeResult(metadata=said)


def latest_of(store: ModelStore, day: str) -> VersionInfo:
    """The candidate of the day that was stored last."""
    candidates = [v for v in store.versions() if v.metadata.get(PARTITION) == day]
    if not candidates:
        raise InvalidInput(f"no model of {day} in the store: materialize knn_model {day} first")
    return max(candidates, key=lambda v: (v.created_at, v.version))
