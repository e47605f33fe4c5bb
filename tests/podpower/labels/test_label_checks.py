import pytest

from podpower.labels.checks import energy_is_not_all_zero, most_steps_are_known
from podpower.labels.report import NO_GENERATION, LabelReport


def report(*, rows=10, known=10, all_zero=False, generation="0.10", reasons=None):
    return LabelReport(
        generation=generation, energy="dynamic", pods=1, rows=rows, known=known, all_zero=all_zero,
        null_reasons=reasons or {},
    )  # fmt: skip


def test_one_hour_of_zeros_fails():
    assert energy_is_not_all_zero([report(), report()]).passed
    result = energy_is_not_all_zero([report(), report(all_zero=True)])
    assert not result.passed
    assert not result.warning
    assert result.values == {"hours_of_zeros": 1}


@pytest.mark.parametrize(("known", "passed"), [(5, True), (4, False)])
def test_half_of_the_steps_must_be_known(known, passed):
    result = most_steps_are_known([report(known=known, reasons={"gap": 10 - known}), report(rows=0, known=0)])
    assert result.passed is passed
    assert result.warning
    assert result.values["null_reasons"] == {"gap": 10 - known}


def test_hours_without_kepler_are_counted():
    values = most_steps_are_known([report(rows=0, known=0, generation=NO_GENERATION), report()]).values
    assert values["hours_without_kepler"] == 1
