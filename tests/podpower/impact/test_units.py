"""Quantities as text."""

import pytest

from podpower.impact import units


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.0, "0 W"),
        (1.5, "1.5 W"),
        (0.00123, "1.23 mW"),
        (999.9, "1 kW"),
        (4500.0, "4.5 kW"),
        (12.345, "12.3 W"),
        (0.25, "250 mW"),
        (3e-6, "3 µW"),
        (1e-9, "0 W"),
    ],
)
def test_quantity(value, expected):
    assert units.quantity(value, "W") == expected
