"""Kubernetes resource quantities, read exactly as the API server reads them, and the units that podpower keeps.

The grammar and the limits are those of k8s.io/apimachinery/pkg/api/resource (Quantity, ParseQuantity).
"""

import re
from fractions import Fraction
from functools import lru_cache

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_CPU_MCPU, MAX_DEVICES, MAX_MEMORY_MIB

MIB_BYTES = 1 << 20

_DECIMAL = {
    s: Fraction(10) ** p
    for s, p in zip(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), range(-9, 19, 3), strict=True)
}
_BINARY = {s: Fraction(1024) ** p for p, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_FACTORS = _DECIMAL | _BINARY
_GRAMMAR = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+)|([A-Za-z]*))", re.ASCII)
_MAX = Fraction((1 << 63) - 1)  # larger amounts are capped, as the API server does
_NANO = Fraction(1, 10**9)  # finer amounts are rounded up to it
_MAX_EXPONENT = 64  # beyond the cap and the nano from any number that fits in a manifest field
_MAX_LENGTH = 64


class NotAQuantity(InvalidInput):
    """A value that is no quantity, or none of a resource; `must` is what it must be."""

    def __init__(self, value: object, must: str) -> None:
        shown = f'"{value[:_MAX_LENGTH]}"' if isinstance(value, str) else f"{value!r:.60}"
        super().__init__(f"{shown} {must}")
        self.must = must


def parse_quantity(value: str | int | float) -> Fraction:
    """Return the amount in base units (cores, bytes, items). InvalidInput, with an example, when it is not a quantity.

    >>> parse_quantity("1.5Gi") == 1.5 * 2**30, float(parse_quantity("100m"))
    (True, 0.1)
    """
    return _parse(_text(value))


def _text(value: str | int | float) -> str:
    """Return a number as the text that YAML had for it; only then is it hashable and its type plain."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NotAQuantity(value, "is not a quantity; write e.g. 500m, 1.5 or 512Mi")
    return value if isinstance(value, str) else repr(value)


@lru_cache(maxsize=1 << 14)
def _parse(text: str) -> Fraction:
    match = _GRAMMAR.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None or (match[4] and match[4] not in _FACTORS):
        raise NotAQuantity(text, f"is not a quantity; write e.g. {_example(text)}")
    sign, digits, exponent, suffix = match.groups()
    amount = Fraction(digits.removesuffix("."))
    if exponent is None:
        amount *= _FACTORS[suffix]
    elif amount:
        power = int(exponent)
        amount = (
            _MAX if power > _MAX_EXPONENT + len(digits) else amount * Fraction(10) ** max(power, -2 * _MAX_EXPONENT)
        )
    amount = min(amount, _MAX)
    if amount % _NANO:
        amount = (amount // _NANO + 1) * _NANO
    return -amount if sign == "-" else amount


def _example(text: str) -> str:
    """Return the likeliest valid spelling."""
    if text[-1:] in {"g", "t", "p"}:
        return f"{text[:-1]}{text[-1].upper()}i"
    if text[-1:] == "K":
        return f"{text[:-1]}Ki"
    return "500m, 1.5 or 512Mi"


def cpu_mcpu(value: str | int | float) -> float:
    """Return CPU in millicores. InvalidInput when it is not a quantity or negative.

    >>> cpu_mcpu("250m"), cpu_mcpu(0.5), cpu_mcpu("2")
    (250.0, 500.0, 2000.0)
    """
    return _cpu(_text(value))


def memory_mib(value: str | int | float) -> float:
    """Return memory in MiB. InvalidInput when it is not a quantity or negative.

    >>> memory_mib("1Gi"), memory_mib(1048576)
    (1024.0, 1.0)
    """
    return _memory(_text(value))


def item_count(value: str | int | float) -> int:
    """Return a whole number of devices. InvalidInput for a fraction, a negative number, or what is not a quantity."""
    amount = _positive(value)
    if amount.denominator != 1:
        raise NotAQuantity(f"{value}", "is not a whole number of devices; write e.g. 1")
    if amount > MAX_DEVICES:
        raise NotAQuantity(f"{value}", f"is more than {MAX_DEVICES} devices, which no pod has")
    return int(amount)


@lru_cache(maxsize=1 << 14)
def _cpu(text: str) -> float:
    amount = float(_positive(text) * 1000)
    if amount > MAX_CPU_MCPU:
        raise NotAQuantity(text, f"is more than {MAX_CPU_MCPU} millicores, which no pod has")
    return amount


@lru_cache(maxsize=1 << 14)
def _memory(text: str) -> float:
    amount = float(_positive(text) / MIB_BYTES)
    if amount > MAX_MEMORY_MIB:
        raise NotAQuantity(text, f"is more than {MAX_MEMORY_MIB} MiB, which no pod has")
    return amount


def _positive(value: str | int | float) -> Fraction:
    amount = parse_quantity(value)
    if amount < 0:
        raise NotAQuantity(f"{value}", "is negative; a resource is 0 or more")
    return amount
