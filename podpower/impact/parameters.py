"""Inputs of an assessment from texts, such as the query parameters of an HTTP request."""

from collections.abc import Mapping
from typing import Final

from podpower.errors import InvalidInput
from podpower.impact.assessment import Inputs
from podpower.impact.carbon import parse_carbon
from podpower.impact.rates import DEFAULT_CURRENCY, Rates, parse_amount, parse_currency
from podpower.impact.scope import SCOPES, Idle
from podpower.specs.quoting import quoted

# Each name with its type in OpenAPI and its meaning.
PARAMETERS: Final = (
    ("price", "number", "price of a kWh; adds cost_month"),
    ("currency", "string", "currency of the price, EUR by default"),
    ("pue", "number", "power usage effectiveness of the data centre, 1 by default"),
    ("carbon", "number", "carbon intensity in g CO2e/kWh; adds co2e_kg_month"),
    ("scope", "string", "dynamic (default), or total: with the nodes' idle share by requested CPU"),
    ("idle_w_per_vcpu", "number", "idle watts of a vCPU, for the scope total"),
)
NAMES: Final = tuple(name for name, _, _ in PARAMETERS)


def inputs_from(texts: Mapping[str, str], *, measured: Idle | None = None) -> Inputs:
    """Return the inputs of these texts by NAMES; others are not looked at. `measured` idle watts count where none are
    given. InvalidInput names the parameter.
    """
    given = {name: texts[name] for name in NAMES if texts.get(name)}
    scope = given.get("scope", "dynamic")
    if scope not in SCOPES:
        raise InvalidInput(f'scope: must be dynamic or total; got "{quoted(scope)}"')
    carbon = None
    if "carbon" in given:
        parse_amount(given["carbon"], name="carbon")
        carbon = parse_carbon(given["carbon"])
    rates = Rates(
        price_per_kwh=parse_amount(given["price"], name="price") if "price" in given else None,
        currency=parse_currency(given.get("currency", DEFAULT_CURRENCY)),
        pue=parse_amount(given.get("pue", "1"), name="pue"),
        carbon=carbon,
    )
    idle = measured
    if "idle_w_per_vcpu" in given:
        idle = Idle(w_per_vcpu=parse_amount(given["idle_w_per_vcpu"], name="idle_w_per_vcpu"), source="given")
    if scope == "total" and idle is None:
        raise InvalidInput("scope: total needs idle_w_per_vcpu, the idle watts of a vCPU, e.g. 0.74")
    is_total = scope == "total"
    return Inputs(scope="total" if is_total else "dynamic", idle=idle if is_total else None, rates=rates)
