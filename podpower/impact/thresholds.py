"""Thresholds of power, energy and money: `500W`, `100kWh`, `50EUR`; of increases also `5%`."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from podpower.errors import InvalidInput
from podpower.impact import units
from podpower.impact.rates import parse_currency
from podpower.specs.quoting import quoted

_TEXT = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?) ?(?P<unit>%|[A-Za-z]{1,3}|[€$£¥])")
_POWER: Final = {"W": 1.0, "mW": 1e-3, "kW": 1e3, "MW": 1e6}
_ENERGY: Final = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3, "GWh": 1e6}
_CASELESS: Final = {"w": "W", "kw": "kW", "wh": "Wh", "kwh": "kWh", "mwh": "MWh", "gwh": "GWh"}

What = Literal["power", "energy", "cost", "share"]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A bound in W, in kWh a month, in money a month, or as a share. `text` is as given."""

    what: What
    value: float
    text: str
    currency: str | None = None

    def exceeded(self, *, watts: float | None, kwh: float | None, cost: float | None = None) -> bool | None:
        """Return whether a value is above the bound; None where it is not known."""
        value = {"power": watts, "energy": kwh, "cost": cost}.get(self.what)
        return None if value is None else value > self.value

    def shown(self, *, watts: float | None, kwh: float | None, cost: float | None = None) -> str:
        """Return the value that is compared, as text."""
        if self.what == "cost":
            return units.money(cost, self.currency or "")
        return units.watts(watts) if self.what == "power" else f"{units.kwh(kwh)} a month"


def parse_threshold(text: str, *, share: bool = False) -> Threshold:
    """Return a threshold; `share` allows a percentage. InvalidInput shows how to write one.

    >>> parse_threshold("1.5MWh").value, parse_threshold("50eur").currency, parse_threshold("5%", share=True).value
    (1500.0, 'EUR', 0.05)
    """
    found = _TEXT.fullmatch(text.strip())
    examples = "5%, 10kWh, 20W or 5EUR" if share else "500W, 100kWh or 50EUR"
    if found is None or (found["unit"] == "%" and not share):
        raise InvalidInput(f"{quoted(text)!r} is not a threshold: write e.g. {examples}")
    number, unit = float(found["number"]), found["unit"]
    unit = unit if unit in _POWER or unit in _ENERGY else _CASELESS.get(unit.lower(), unit)
    if unit == "%":
        return Threshold(what="share", value=number / 100.0, text=text)
    if unit in _POWER:
        return Threshold(what="power", value=number * _POWER[unit], text=text)
    if unit in _ENERGY:
        return Threshold(what="energy", value=number * _ENERGY[unit], text=text)
    return Threshold(what="cost", value=number, text=text, currency=parse_currency(unit))
