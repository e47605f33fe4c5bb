"""Numbers in texts from outside: what Python reads beyond what people write is refused, wherever it arrives."""

import argparse

import pytest

from podpower.cli import main
from podpower.cli.arguments import UsageError, bounded, count, port, positive, seconds
from podpower.cli.times import parse_time
from podpower.errors import InvalidInput
from podpower.fleet.budgets import parse_watts
from podpower.impact.carbon import carbon_by_hour, parse_carbon
from podpower.impact.rates import parse_amount
from podpower.impact.thresholds import parse_threshold
from podpower.io.retries import retry_after_s
from podpower.numbers import number_in, whole_number_in
from podpower.setting_values import integer, number

NO_NUMBERS = ["1_0", "١٠", "１０", "1٫5", "", " ", "ten", "0x10", "1e", "+-1", "nan", "inf", "1e999", "1" * 100]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number(text):
    assert number_in(text) is None
    assert whole_number_in(text) is None


@pytest.mark.parametrize(("text", "value"), [("10", 10), (" 0.5 ", 0.5), ("-.5", -0.5), ("1.", 1.0), ("+2E-3", 0.002)])
def test_what_is_a_number(text, value):
    assert number_in(text) == value


@pytest.mark.parametrize("text", ["1_0", "١٠"])
@pytest.mark.parametrize(
    "parse",
    [
        lambda text: parse_amount(text, name="price"),
        parse_carbon,
        lambda text: carbon_by_hour(f"hour,g_per_kwh\n0,{text}\n".encode(), name="carbon"),
        lambda text: parse_threshold(f"{text}W"),
        lambda text: parse_time(text, now_s=0.0, option="--start"),
        lambda text: parse_time(f"-{text}h", now_s=0.0, option="--start"),
        bounded(100.0),
        count,
        port,
        positive,
        lambda text: seconds(f"{text}s"),
        integer(least=0, most=100),
        number(most=100.0),
    ],
)
def test_every_parser_refuses_it(parse, text):
    with pytest.raises((InvalidInput, UsageError, argparse.ArgumentTypeError), match=r"1_0|١٠|line"):
        parse(text)


def test_neither_watts_nor_waits_are_read_from_it():
    assert parse_watts("1_0") is None
    assert parse_watts("١٠") is None
    assert retry_after_s({"retry-after": "1_0"}) == 0.0


@pytest.mark.parametrize("option", ["--price", "--pue", "--carbon"])
def test_the_command_line_names_the_text(option, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("kind: ConfigMap")
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["predict", "-f", str(tmp_path / "a.yaml"), option, "1_0"]))
    assert ended.value.code in {1, 2}
    assert "1_0" in capsys.readouterr().err
