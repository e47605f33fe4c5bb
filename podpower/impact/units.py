"""Quantities as text: three digits and a unit, the same on every face of podpower."""

from typing import Final

UNKNOWN: Final = "-"
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_SMALLEST_MONEY = 0.01


def quantity(value: float | None, unit: str) -> str:
    """Return three digits and a unit with prefix; "-" when unknown.

    >>> quantity(0.00123, "W"), quantity(-4500.0, "J"), quantity(0.0, "W"), quantity(None, "W")
    ('1.23 mW', '-4.5 kJ', '0 W', '-')
    """
    if value is None or value != value:  # noqa: PLR0124  # NaN
        return UNKNOWN
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"0 {unit}"


def watts(value: float | None) -> str:
    """Return watts as text."""
    return quantity(value, "W")


def kwh(value: float | None) -> str:
    """Return kilowatt-hours as text, small ones as watt-hours.

    >>> kwh(0.0031), kwh(1690.0)
    ('3.1 Wh', '1.69 MWh')
    """
    return quantity(None if value is None else value * 1000.0, "Wh")


def co2e(value_kg: float | None) -> str:
    """Return kilograms of CO2 equivalents as text, small ones as grams.

    >>> co2e(0.052), co2e(52.0), co2e(5200.0)
    ('52 g', '52 kg', '5.2 t')
    """
    if value_kg is not None and abs(value_kg) >= 999.5:
        return quantity(value_kg / 1000.0, "t")
    return quantity(None if value_kg is None else value_kg * 1000.0, "g")


def money(value: float | None, currency: str) -> str:
    """Return an amount of money with its currency; less than a hundredth of it with three digits.

    >>> money(1234.5, "EUR"), money(0.00123, "EUR"), money(-0.5, "USD"), money(None, "EUR")
    ('1,234.50 EUR', '0.00123 EUR', '-0.50 USD', '-')
    """
    if value is None:
        return UNKNOWN
    small = 0 < abs(value) < _SMALLEST_MONEY
    return f"{value:.3g} {currency}" if small else f"{value:,.2f} {currency}"


def signed(text: str) -> str:
    """Return the text of a quantity with a sign.

    >>> signed("1.5 W"), signed("-1.5 W"), signed("0 W"), signed("-")
    ('+1.5 W', '-1.5 W', '0 W', '-')
    """
    return text if text.startswith((UNKNOWN, "0 ")) or text == "0" else f"+{text}"
