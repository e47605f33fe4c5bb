import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput
from podpower.kubernetes.quantities import cpu_mcpu, item_count, memory_mib, parse_quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0), ("+1", 1), ("5.", 5), (".5", Fraction(1, 2)), (3, 3), (0.1, Fraction(1, 10)),
        ("100m", Fraction(1, 10)), ("100u", Fraction(1, 10_000)), ("100n", Fraction(1, 10**7)),
        ("1k", 1000), ("1M", 10**6), ("1G", 10**9), ("1T", 10**12), ("1P", 10**15), ("1E", 10**18),
        ("1Ki", 2**10), ("1.5Mi", 3 * 2**19), ("1Gi", 2**30), ("1Ti", 2**40), ("1Pi", 2**50), ("1Ei", 2**60),
        ("12e6", 12 * 10**6), ("1E3", 1000), ("5e-1", Fraction(1, 2)),
    ],
)  # fmt: skip
def test_every_form_the_api_server_knows(text: str | float, amount: Fraction | int) -> None:
    assert parse_quantity(text) == amount


@pytest.mark.parametrize(
    "text",
    ["", " ", "1.5.2Gi", "1g", "1K", "1 Gi", " 1", "1\n", "Mi", "1e", "1.5e1.5", "--1", "0x10", "nan", "inf", "1Zi"],
)
def test_an_invalid_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a quantity; write e\.g\. "):
        parse_quantity(text)


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}, float("nan"), float("inf")])
def test_other_types_are_no_quantities(value: object) -> None:
    with pytest.raises(InvalidInput):
        parse_quantity(value)  # type: ignore[arg-type]


def test_a_value_of_another_type_is_shown_briefly() -> None:
    with pytest.raises(InvalidInput, match=r"^True is not a quantity; write e\.g\. 500m, 1\.5 or 512Mi$"):
        parse_quantity(True)
    with pytest.raises(InvalidInput) as caught:
        parse_quantity(["x" * 1000])  # type: ignore[arg-type]
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("15g", "15Gi"), ("15t", "15Ti"), ("15p", "15Pi"), ("15K", "15Ki"), ("512mb", "500m, 1.5 or 512Mi"),
        ("", "500m, 1.5 or 512Mi"),
    ],
)  # fmt: skip
def test_a_misspelt_suffix_is_answered_with_the_likeliest_right_one(text: str, example: str) -> None:
    with pytest.raises(InvalidInput, match=rf"is not a quantity; write e\.g\. {re.escape(example)}$"):
        memory_mib(text)


def test_a_quantity_has_at_most_64_characters() -> None:
    assert parse_quantity("1".zfill(64)) == 1
    with pytest.raises(InvalidInput, match="is not a quantity") as caught:
        parse_quantity("1".zfill(65))
    assert len(str(caught.value)) < 150


def test_nothing_is_a_quantity() -> None:
    assert (cpu_mcpu("0"), memory_mib(0), item_count("0")) == (0.0, 0.0, 0)
    assert parse_quantity("0e99") == 0


def test_a_large_exponent_of_a_small_number_is_exact() -> None:
    assert parse_quantity("." + "0" * 55 + "1e70") == 10**14


def test_negative_amounts_keep_their_sign() -> None:
    assert parse_quantity("-1.5Ki") == -1536


def test_amounts_are_capped_and_rounded_up_as_the_api_server_does() -> None:
    assert parse_quantity("1e999999999") == 2**63 - 1
    assert parse_quantity("9Ei") == 2**63 - 1
    assert parse_quantity("1e-999999999") == Fraction(1, 10**9)
    assert parse_quantity("0.1n") == Fraction(1, 10**9)


def test_units_are_millicores_mebibytes_and_whole_devices() -> None:
    assert cpu_mcpu("1500m") == cpu_mcpu(1.5) == 1500
    assert memory_mib("1Gi") == 1024
    assert memory_mib("100m") == pytest.approx(0.1 / 2**20)
    assert item_count("2") == 2
    with pytest.raises(InvalidInput, match="whole number"):
        item_count("1500m")
    with pytest.raises(InvalidInput, match="negative"):
        cpu_mcpu("-1")


@given(st.integers(0, 10**9), st.sampled_from(["n", "u", "m", "", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_a_suffix_scales_a_whole_number(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number}{suffix}") == min(number * parse_quantity(f"1{suffix}"), 2**63 - 1)


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_an_invalid_input(text: str) -> None:
    try:
        amount = parse_quantity(text)
    except InvalidInput:
        return
    assert abs(amount) <= 2**63 - 1
