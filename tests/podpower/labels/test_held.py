"""Tables that wait for the end of their hour come back as they were, compressed or not."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.labels.held import HeldTables


def table(first: float, *, rows: int = 6) -> pl.DataFrame:
    ts = [first + 60.0 * number for number in range(rows)]
    return pl.DataFrame(
        {"ts": ts, "pod": [f"web-{number % 2}" for number in range(rows)], "known_s": [None, *ts[1:]], "n": 0.1 + 0.2}
    )


@pytest.mark.parametrize("plain_rows", [0, 7, 1000], ids=["compressed", "both", "plain"])
def test_held_tables_come_back_in_order_up_to_a_time(monkeypatch: pytest.MonkeyPatch, plain_rows: int) -> None:
    monkeypatch.setattr("podpower.labels.held._PLAIN_ROWS", plain_rows)
    tables = [table(0.0), table(120.0), table(1000.0)]
    held = HeldTables()
    for one in tables:
        held.add(one)
    early = list(held.until(300.0))
    held.add(table(2000.0))
    late = list(held.until(float("inf")))
    whole = pl.concat([*tables, table(2000.0)])
    assert_frame_equal(pl.concat(early), whole.filter(pl.col("ts") <= 300.0), check_exact=True)
    assert_frame_equal(pl.concat(late), whole.filter(pl.col("ts") > 300.0), check_exact=True)
    assert list(held.until(float("inf"))) == []
