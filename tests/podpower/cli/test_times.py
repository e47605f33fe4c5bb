import pytest

from podpower.cli.arguments import UsageError, seconds
from podpower.cli.times import parse_time

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("1761811743", 1761811743.0),
        ("1761811743.5", 1761811743.5),
        ("now", NOW_S),
        ("-6h", NOW_S - 21600),
        ("now-30m", NOW_S - 1800),
        ("now+90s", NOW_S + 90),
        ("-2d", NOW_S - 172800),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-02T00:00:00.250Z", 86400.25),
    ],
)
def test_a_point_in_time(text, expected_s):
    assert parse_time(text, now_s=NOW_S, option="--start") == expected_s


@pytest.mark.parametrize("text", ["", "yesterday", "6h", "-6", "--", "2026-13-01T00:00:00Z", "now-", "1e400h"])
def test_what_is_no_time_names_the_option(text):
    with pytest.raises(UsageError, match=r"--start .* is not a time"):
        parse_time(text, now_s=NOW_S, option="--start")


def test_a_time_without_zone_is_not_guessed():
    with pytest.raises(UsageError, match="no time zone"):
        parse_time("2026-01-01T00:00:00", now_s=NOW_S, option="--end")


@pytest.mark.parametrize(("text", "expected_s"), [("60s", 60), ("5m", 300), ("1.5h", 5400), ("500ms", 0.5), ("30", 30)])
def test_a_duration(text, expected_s):
    assert seconds(text) == expected_s
