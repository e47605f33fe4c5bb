"""Thresholds as people write them."""

import pytest

from podpower.errors import InvalidInput
from podpower.impact.thresholds import parse_threshold


@pytest.mark.parametrize(
    ("text", "what", "value"),
    [
        ("500W", "power", 500.0), ("0.5kW", "power", 500.0), ("100 kWh", "energy", 100.0), ("1MWh", "energy", 1000.0),
        ("50EUR", "cost", 50.0), ("50€", "cost", 50.0), ("100kwh", "energy", 100.0),
    ],
)  # fmt: skip
def test_units(text, what, value):
    found = parse_threshold(text)
    assert (found.what, found.value) == (what, value)


@pytest.mark.parametrize("text", ["", "500", "W", "-5W", "5%", "5W5", "1e3W", "5 lots", "5kWh a month", "9" * 40 + "W"])
def test_what_is_no_threshold_shows_examples(text):
    with pytest.raises(InvalidInput, match="500W, 100kWh or 50EUR"):
        parse_threshold(text)


def test_a_percentage_is_for_increases_only():
    assert parse_threshold("5%", share=True).value == 0.05


def test_an_unknown_value_exceeds_nothing_and_is_no_pass():
    assert parse_threshold("5W").exceeded(watts=None, kwh=1.0) is None
    assert parse_threshold("5W").exceeded(watts=5.0, kwh=None) is False
    assert parse_threshold("5W").exceeded(watts=5.1, kwh=None) is True
