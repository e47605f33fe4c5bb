"""Partition keys of hours and days."""

from podpower_assets.partitions import consecutive, hours_between

NINE_S = 1_767_258_000.0  # 2026-01-01T09:00Z


def test_hours_apart_are_runs_of_their_own_and_long_ranges_are_bounded() -> None:
    hours = hours_between(NINE_S, NINE_S + 60 * 3600)
    assert consecutive([hours[0], hours[1], hours[40]]) == [[hours[40]], [hours[0], hours[1]]]
    assert [len(group) for group in consecutive(hours)] == [24, 24, 12]
    assert consecutive(hours)[0] == hours[-24:]
    assert consecutive([]) == []
