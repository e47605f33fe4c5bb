import io

import pytest

from podpower.cli import output


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
    assert output.quantity(value, "W") == expected


def test_a_table_in_a_file_is_never_cut_and_names_are_not_markup():
    stream = io.StringIO()
    name = "[red]" + "x" * 150
    output.table(("name", "W"), [(name, "1")], right=("W",), total=("total", "1"), stream=stream)
    lines = stream.getvalue().splitlines()
    assert name in lines[2]
    assert lines[-1].split() == ["total", "1"]
