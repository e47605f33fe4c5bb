"""Money and carbon of energy: kWh x PUE x price, kWh x PUE x carbon intensity of the grid.

Embodied emissions (M of the SCI, ISO/IEC 21031:2024) are not included, and `Rates.lines` says so.
"""

import re
from dataclasses import dataclass
from typing import Final

from podpower.errors import InvalidInput
from podpower.impact import units
from podpower.impact.carbon import Carbon
from podpower.numbers import number_in
from podpower.specs.quoting import quoted

DEFAULT_CURRENCY: Final = "EUR"
MOST_PRICE, MOST_PUE = 1e6, 10.0
CURRENCY = re.compile(r"[A-Za-z]{3}|[€$£¥]")
_SIGNS: Final = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Price in `currency` per kWh, power usage effectiveness of the data centre, and carbon intensity; None: not
    given. InvalidInput when one is out of range.
    """

    price_per_kwh: float | None = None
    currency: str = DEFAULT_CURRENCY
    pue: float = 1.0
    carbon: Carbon | None = None

    def __post_init__(self) -> None:
        if self.price_per_kwh is not None and not 0 <= self.price_per_kwh <= MOST_PRICE:
            raise InvalidInput(f"price: must be a price per kWh from 0 to {MOST_PRICE:g}, e.g. 0.30")
        if not 1 <= self.pue <= MOST_PUE:
            raise InvalidInput(
                f"pue: must be from 1 to {MOST_PUE:g}: the energy of the data centre over that of its IT"
            )

    @property
    def given(self) -> bool:
        """True where there is a price or a carbon intensity."""
        return self.price_per_kwh is not None or self.carbon is not None

    def cost(self, kwh: float | None) -> float | None:
        """Return the cost of this energy; None where one of both is unknown."""
        if kwh is None or self.price_per_kwh is None:
            return None
        return kwh * self.pue * self.price_per_kwh

    def co2e_kg(self, kwh: float | None, *, schedule: str | None = None, time_zone: str | None = None) -> float | None:
        """Return kilograms of CO2 equivalents of this energy, of a workload that runs by `schedule`."""
        if kwh is None or self.carbon is None:
            return None
        return kwh * self.pue * self.carbon.of(schedule, time_zone) / 1000.0

    def lines(self) -> list[str]:
        """Describe the inputs, a line each."""
        found = []
        if self.price_per_kwh is not None:
            found.append(f"cost: kWh x PUE {self.pue:g} x {self.price_per_kwh:g} {self.currency}/kWh")
        if self.carbon is not None:
            found.append(
                f"CO2e: kWh x PUE {self.pue:g} x {self.carbon.g_per_kwh:.4g} g/kWh ({self.carbon.source}); embodied "
                "emissions are not included"
            )
        return found

    def money(self, value: float | None) -> str:
        """Return an amount as text."""
        return units.money(value, self.currency)


def parse_currency(text: str) -> str:
    """Return a currency's code. InvalidInput when the text is none.

    >>> parse_currency("eur"), parse_currency("€")
    ('EUR', 'EUR')
    """
    if not CURRENCY.fullmatch(text):
        raise InvalidInput(f"currency: {quoted(text)} is not a currency: write e.g. EUR")
    return _SIGNS.get(text, text.upper())


def parse_amount(text: str, *, name: str) -> float:
    """Return a finite number of at least 0. InvalidInput names what it is for."""
    value = number_in(text)
    if value is None or value < 0:
        raise InvalidInput(f"{name}: {quoted(text)} is not a number of at least 0")
    return value
