"""Carbon intensity from a value or a CSV by hour."""

import pytest

from podpower.errors import InvalidInput
from podpower.impact.carbon import parse_carbon, read_carbon


@pytest.fixture
def by_hour(tmp_path):
    """A grid whose night is clean: 100 g/kWh before six, 500 after."""
    path = tmp_path / "grid.csv"
    path.write_text("hour,g_per_kwh\n" + "".join(f"{hour},{100 if hour < 6 else 500}\n" for hour in range(24)))
    return str(path)


def test_what_runs_all_the_time_has_the_mean_and_a_nightly_job_that_of_its_hour(by_hour):
    carbon = read_carbon(by_hour)
    assert carbon.g_per_kwh == carbon.of(None, None) == 400.0
    assert carbon.of("0 3 * * *", None) == 100.0
    assert carbon.of("0 3,15 * * *", None) == 300.0
    assert carbon.of("0 * * * *", None) == 400.0
    assert "24 hours" in carbon.source


def test_hours_are_utc_and_a_schedule_has_its_time_zone(by_hour):
    assert read_carbon(by_hour).of("0 11 * * *", "Asia/Tokyo") == 100.0  # 02:00 in UTC
    assert read_carbon(by_hour).of("@every 7h", None) == 400.0


def test_an_export_of_grid_data_is_read_as_it_is(tmp_path):
    path = tmp_path / "DE_2025.csv"
    head = (
        "Datetime (UTC),Country,Zone id,Carbon intensity gCO₂eq/kWh (Life cycle),Carbon intensity gCO₂eq/kWh (direct)"
    )
    rows = [
        f"2025-01-0{day} {hour:02}:00:00,Germany,DE,{450 + day},{400 + day}" for day in (1, 2) for hour in range(24)
    ]
    path.write_text("\n".join([head, *rows]))
    assert read_carbon(str(path)).g_per_kwh == 401.5


def test_semicolons_and_decimal_commas_are_read(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text("2026-01-01T00:00Z;100,5\n2026-01-01T01:00+00:00;200,5\n")
    carbon = read_carbon(str(path))
    assert carbon.g_per_kwh == 150.5
    assert carbon.by_hour is None
    assert carbon.of("0 0 * * *", None) == 150.5  # other hours are not known


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no two columns"),
        ("hour,g\n", "no row"),
        ("hour,g_per_kwh\n24,100\n", "line 2: '24' is neither an hour nor a time"),
        ("hour,g_per_kwh\n1,100\n2,lots\n", "line 3: 'lots' is not a number"),
        ("hour,g_per_kwh\n1,-5\n", "'-5' is not a number"),
        ("time,zone,price\n2026-01-01,DE,5\n", "none is named carbon intensity"),
        ('hour,g\n"1,2\n', "not a CSV"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text, wrong, tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=wrong):
        read_carbon(str(path))


def test_a_value_is_bounded_and_a_name_is_no_value():
    assert parse_carbon("380").g_per_kwh == 380.0
    assert parse_carbon("grid.csv") is None
    for text in ("-1", "1e9", "nan"):
        with pytest.raises(InvalidInput, match="g CO2e/kWh"):
            parse_carbon(text)
