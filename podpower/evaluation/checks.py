"""Checks of a model: its errors on held-out workloads, its comparison with the champion, and drift since."""

from collections.abc import Iterator

import msgspec

from podpower.checks import CheckResult, Value
from podpower.evaluation import figures
from podpower.evaluation.champion import ChampionComparison
from podpower.evaluation.drift import LEAST_COVERED, MOST_UNKNOWN
from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.names import UNSEEN
from podpower.evaluation.served import ServedEvaluation
from podpower.evaluation.verdict import verdict_of
from podpower.registry.quarantine import named

BEATS, COVERS = "beats_the_constant_on_unseen_workloads", "intervals_cover"
NOT_WORSE, PLAUSIBLE = "no_worse_than_the_served_model", "labels_are_plausible"
MODEL_CHECKS = {
    BEATS: "On held-out workloads, log R2 is at least that of the geometric mean of the others.",
    COVERS: "At least half of the held-out workloads lie in their 80 % interval.",
    NOT_WORSE: "On the same held-out pods, known and unknown, it is not worse than the served model.",
    PLAUSIBLE: "Most known workloads draw what they drew before; otherwise the measurement changed.",
}
ERRORS, SPECS = "errors_have_not_drifted", "specs_have_not_drifted"
DRIFT_CHECKS = {
    ERRORS: "Most known workloads stay inside the 80 % interval of the model that was served.",
    SPECS: "Most workloads are similar to ones that the served model knows.",
}
CALIBRATED = "served_predictions_are_calibrated"
SERVED_CHECKS = {
    CALIBRATED: "The sum of what was served is near the sum of labels, and its 80 % intervals hold about 80 % of them.",
}
_MIN_COVERAGE = 0.5  # of intervals that claim 80 %


def check_model(report: EvaluationReport | None, compared: ChampionComparison) -> Iterator[CheckResult]:
    """Yield the results of MODEL_CHECKS; `report` is None where there are too few workloads to hold any out."""
    yield from _on_held_out_workloads(report)
    yield CheckResult(
        name=NOT_WORSE,
        passed=not compared.worse,
        description="; ".join(compared.lines()),
        values={
            "served": compared.served or "nothing",
            **{c.question.replace(" ", "_"): str(c) for c in compared.comparisons},
            **({"note": compared.note} if compared.note else {}),
        },
    )
    yield _on_labels(compared)


def _on_labels(compared: ChampionComparison) -> CheckResult:
    shift, specs = compared.label_shift, compared.quarantine.specs if compared.quarantine else []
    values: dict[str, Value] = {"quarantined": len(specs)}
    if specs:
        values["quarantined_specs"] = named(specs)
    if shift:
        values |= {"known": shift.known, "changed": shift.changed, "factor": shift.factor}
    parts = [str(shift) if shift else compared.note, compared.quarantined]
    return CheckResult(
        name=PLAUSIBLE,
        passed=shift is None or not shift.shifted,
        description="; ".join(part for part in parts if part),
        values=values,
    )


def _on_held_out_workloads(report: EvaluationReport | None) -> Iterator[CheckResult]:
    split = report.split(UNSEEN) if report else None
    if split is None:
        note = "too few workloads to hold any out"
        yield from (CheckResult(name=name, passed=True, description=note) for name in (BEATS, COVERS))
        return
    own, constant = split.own, split.scores["constant"]
    # On logs, where each workload counts the same; in watts one large one decides.
    known = own.log_r2 is not None and constant.log_r2 is not None
    shown = figures.LOG_R2.of(own), figures.LOG_R2.of(constant)
    yield CheckResult(
        name=BEATS,
        passed=not known or own.log_r2 >= constant.log_r2,  # type: ignore[operator]
        description=f"{figures.LOG_R2.name} of {UNSEEN} {shown[0]}, of the constant {shown[1]}",
        values={"log_r2": own.log_r2, "constant": constant.log_r2},
    )
    share = "an unknown share" if own.coverage is None else figures.COVERAGE.of(own)
    yield CheckResult(
        name=COVERS,
        passed=own.coverage is None or own.coverage >= _MIN_COVERAGE,
        description=f"{share} of the held-out workloads lie in their 80 % interval",
        values={"coverage": own.coverage},
    )


def check_served(served: ServedEvaluation) -> Iterator[CheckResult]:
    """Yield the results of DRIFT_CHECKS and SERVED_CHECKS. Without anything to measure they fail; `drifted` is true
    where a new model can help.
    """
    drift, reasons = served.drift, "; ".join(served.notes)
    values = {name: value for name, value in msgspec.to_builtins(drift).items() if value is not None}
    values["versions"] = ", ".join(served.versions) or "none"
    nothing = f"nothing was measured: {reasons or 'there are no labels'}"
    fewer = f"fewer than {LEAST_COVERED:.0%} of the known workloads stay inside their 80 % interval"
    more = f"more than {MOST_UNKNOWN:.0%} of the workloads are similar to no measured one"
    for name, drifted, measured, description in (
        (ERRORS, drift.errors, drift.known, fewer),
        (SPECS, drift.specs, drift.workloads, more),
    ):
        what = "no known workload was measured" if drift.workloads else nothing
        yield CheckResult(
            name=name,
            passed=measured > 0 and not drifted,
            description=description if drifted else "" if measured else what,
            values=values | {"drifted": drifted},
            warning=True,
        )
    verdict = verdict_of(served.split) if served.split else None
    alarms = verdict.alarms if verdict else [nothing]
    yield CheckResult(
        name=CALIBRATED,
        passed=not alarms,
        description="; ".join(alarms) or str(verdict),
        values={"verdict": str(verdict or nothing)},
        warning=True,
    )
