"""When hours that changed are due, on a simulated clock."""

import pytest

from podpower_assets.partitions import hour_key, hour_start_s
from podpower_assets.specs.pending import Pending

NINE = hour_start_s("2026-01-01-09:00")
HOUR = hour_key(NINE)
MINUTE = 60.0


def requests(pending: Pending, *, changes: dict[int, bool], minutes: int, start: int = 0) -> list[float]:
    """Look every half minute of an hour; `changes` have the minute of each, True where it has a new spec."""
    found = []
    for half in range(start * 2, minutes * 2):
        now_s = NINE + half * MINUTE / 2
        if half % 2 == 0 and half // 2 in changes:
            pending.mark([hour_key(now_s)], now_s=now_s, new_specs=changes[half // 2])
        due = pending.due(now_s=now_s, busy=False)
        if due:
            assert due == [hour_key(now_s)]
            pending.requested(due, now_s=now_s)
            found.append(half / 2)
    return found


def test_the_running_hour_is_requested_every_ten_minutes_while_it_changes() -> None:
    every_minute = dict.fromkeys(range(60), False)
    assert requests(Pending(last_s=NINE - 60), changes=every_minute, minutes=60) == [9, 19, 29, 39, 49, 59]


def test_an_hour_without_changes_is_not_requested() -> None:
    assert requests(Pending(last_s=NINE - 60), changes={}, minutes=60) == []


def test_all_hours_of_a_new_cluster_are_requested_at_once() -> None:
    assert requests(Pending(), changes={5: False}, minutes=60, start=5) == [5]
    pending = Pending()
    pending.mark([hour_key(NINE - 3600), HOUR], now_s=NINE + 60, new_specs=False)
    assert pending.due(now_s=NINE + 60, busy=False) == [hour_key(NINE - 3600), HOUR]


@pytest.mark.parametrize("seen", range(12, 22))
def test_a_new_spec_is_requested_with_its_first_samples_within_seven_minutes(seen: int) -> None:
    """Models follow within a minute or two: it is in a promoted one within ten."""
    changes = dict.fromkeys(range(60), False) | {seen: True}
    found = requests(Pending(last_s=NINE - 60), changes=changes, minutes=60)
    assert any(seen + 2 <= at <= seen + 7 for at in found)


def test_a_new_spec_alone_is_followed_until_it_has_samples() -> None:
    assert requests(Pending(last_s=NINE - 1200), changes={3: True}, minutes=60) == [5]
    assert requests(Pending(last_s=NINE + 60), changes={5: True}, minutes=60) == [7]


def test_new_specs_without_end_are_eleven_requests_an_hour() -> None:
    every_minute = dict.fromkeys(range(60), True)
    assert len(requests(Pending(last_s=NINE - 60), changes=every_minute, minutes=60)) <= 11


def test_the_running_hour_waits_while_it_is_being_made() -> None:
    pending = Pending(last_s=NINE - 1200)
    pending.mark([HOUR], now_s=NINE + 300, new_specs=False)
    assert pending.due(now_s=NINE + 300, busy=True) == []
    assert pending.due(now_s=NINE + 300, busy=False) == [HOUR]


def test_an_hour_that_ended_is_left_to_its_schedule_and_requested_if_that_did_not_make_it() -> None:
    pending = Pending(last_s=NINE + 3000)
    pending.mark([HOUR], now_s=NINE + 3605, new_specs=False)
    assert pending.due(now_s=NINE + 3600 + 60, busy=False) == []
    assert pending.due(now_s=NINE + 3600 + 900, busy=False) == [HOUR]
    pending.forget({HOUR: NINE + 3600 + 420})
    assert pending.due(now_s=NINE + 3600 + 900, busy=False) == []


def test_an_hour_that_was_read_before_its_change_is_still_due() -> None:
    pending = Pending()
    pending.mark([HOUR], now_s=NINE + 8000, new_specs=False)
    pending.forget({HOUR: NINE + 7999})
    assert pending.due(now_s=NINE + 8000, busy=False) == [HOUR]
