"""Workloads into predictions with usage, scope, price and carbon: the one way for every face of podpower."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.impact.rates import Rates
from podpower.impact.scope import IN_WORDS, NO_IDLE, Idle, Scope, with_idle_share
from podpower.impact.usage import Usage, with_replicas, with_usage
from podpower.model.predictor import Prediction, Predictor, Total
from podpower.model.sums import Sums
from podpower.specs.documents import Rejected
from podpower.specs.requests import InferenceRequest
from podpower.specs.schedules import HOURS_PER_MONTH
from podpower.specs.selection import Skipped, Workloads


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The figures that watts are made into. `idle` is needed for the scope "total". InvalidInput without it."""

    scope: Scope = "dynamic"
    idle: Idle | None = None
    rates: Rates = field(default_factory=Rates)
    usage: Usage | None = None

    def __post_init__(self) -> None:
        if self.scope == "total" and self.idle is None:
            raise InvalidInput(NO_IDLE)

    def described(self) -> dict[str, Any]:
        """Return the inputs as plain values, as answers have them in `inputs`."""
        rates, idle, carbon = self.rates, self.idle if self.scope == "total" else None, self.rates.carbon
        return {
            "scope": self.scope,
            "hours_month": HOURS_PER_MONTH,
            "idle_w_per_vcpu": idle.w_per_vcpu if idle else None,
            "idle_source": idle.source if idle else None,
            "price_per_kwh": rates.price_per_kwh,
            "currency": None if rates.price_per_kwh is None else rates.currency,
            "pue": rates.pue if rates.given else None,
            "carbon_g_per_kwh": carbon.g_per_kwh if carbon else None,
            "carbon_source": carbon.source if carbon else None,
            "embodied_emissions": "not included",
        }

    def lines(self) -> list[str]:
        """Describe the inputs for people, a line each."""
        lines = [f"scope: {IN_WORDS[self.scope]}; a month has {HOURS_PER_MONTH:g} hours"]
        if self.scope == "total" and self.idle is not None:
            lines.append(self.idle.line())
        return [*lines, *self.rates.lines()]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Predictions of the workloads of an input, in order, and their total; what was skipped or could not be read.
    `repeated` are the positions of workloads that are given again later.
    """

    requests: Sequence[InferenceRequest]
    predictions: Sequence[Prediction]
    total: Total
    repeated: Collection[int] = ()
    skipped: Sequence[Skipped] = ()
    errors: Sequence[Rejected] = ()

    def answer(self, inputs: Inputs, *, plain: bool = True) -> dict[str, Any]:
        """Return plain values, shaped as `POST /predict/batch` answers. Without `plain` the predictions are left as
        they are, for what encodes both alike.
        """
        return {
            "predictions": msgspec.to_builtins(self.predictions) if plain else self.predictions,
            "skipped": msgspec.to_builtins(self.skipped),
            "errors": msgspec.to_builtins(self.errors),
            "total": msgspec.to_builtins(self.total),
            "inputs": inputs.described(),
        }


class Assessing:
    """Predicts workloads with these inputs, a part of them at a time, and adds them up."""

    def __init__(self, predictor: Predictor, inputs: Inputs) -> None:
        self._predictor, self._inputs, self._sums = predictor, inputs, Sums()
        self._co2e_kg: list[Any] = []

    def __len__(self) -> int:
        return len(self._sums)

    def predict(self, requests: Sequence[InferenceRequest], *, explain: bool = False) -> Sequence[Prediction]:
        """Return the predictions of the next `requests`; `explain` adds the neighbours of each."""
        inputs, predictor = self._inputs, self._predictor
        found: Sequence[Prediction] = predictor.explain(requests) if explain else predictor.predict(requests)
        if inputs != Inputs():
            found = [_assessed(p, request, inputs) for p, request in zip(found, requests, strict=True)]
        self._sums.add(found)
        if inputs.rates.carbon is not None:
            self._co2e_kg += [prediction.co2e_kg_month for prediction in found]
        return found

    def total(self, *, repeated: Collection[int] = (), errors: int = 0, unknown_kinds: int = 0) -> Total:
        """Return the sums of what was predicted, as `Predictor.total`, with the price and the carbon of the inputs."""
        total = self._predictor.total_of(self._sums, repeated=repeated, errors=errors, unknown_kinds=unknown_kinds)
        rates, changes = self._inputs.rates, dict[str, Any]()
        if rates.price_per_kwh is not None:
            changes |= {"cost_month": rates.cost(total.kwh_month), "currency": rates.currency}
        if rates.carbon is not None:
            counted = [co2e for place, co2e in enumerate(self._co2e_kg) if place not in repeated]
            known = [co2e for co2e in counted if isinstance(co2e, float)]
            changes["co2e_kg_month"] = sum(known) if total.kwh_month is not None else None
        return msgspec.structs.replace(total, **changes) if changes else total

    def requests(self, requests: Sequence[InferenceRequest]) -> Sequence[InferenceRequest]:
        """Return workloads as they are predicted: with the replicas of the usage."""
        usage = self._inputs.usage
        return requests if usage is None else [with_replicas(request, usage.of(request)) for request in requests]


def assess(predictor: Predictor, workloads: Workloads, inputs: Inputs, *, explain: bool = False) -> Assessment:
    """Predict the workloads of an input with these inputs; `explain` adds the neighbours of each."""
    assessing = Assessing(predictor, inputs)
    requests = assessing.requests(workloads.requests)
    return Assessment(
        requests=requests,
        predictions=assessing.predict(requests, explain=explain),
        total=assessing.total(
            repeated=workloads.repeated,
            errors=len(workloads.errors),
            unknown_kinds=workloads.unknown_kinds,
        ),
        repeated=workloads.repeated,
        skipped=workloads.skipped,
        errors=workloads.errors,
    )


def _assessed(prediction: Prediction, request: InferenceRequest, inputs: Inputs) -> Prediction:
    usage, rates = inputs.usage.of(request) if inputs.usage else None, inputs.rates
    prediction = with_usage(prediction, usage)
    if inputs.scope == "total" and inputs.idle is not None:
        prediction = with_idle_share(prediction, request, inputs.idle)
    changes: dict[str, Any] = {}
    if rates.price_per_kwh is not None:
        changes["cost_month"] = rates.cost(prediction.kwh_month)
    if rates.carbon is not None:
        changes["co2e_kg_month"] = rates.co2e_kg(
            prediction.kwh_month, schedule=request.schedule, time_zone=request.time_zone
        )
    return msgspec.structs.replace(prediction, **changes) if changes else prediction
