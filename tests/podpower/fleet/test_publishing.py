"""Runs for several hours publish one summary: the newest content stays, whoever writes last."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from podpower.errors import Unavailable
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.publishing import publish
from podpower.fleet.summary import FLEET_FILE, read_summary

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S


@pytest.fixture
def hour_of(labels_of):
    """Table of one hour, in which `web` draws some watts."""

    def make(number, power_w):
        start_s = START_S + number * HOUR_S
        one = ClusterHour(cluster="a", labels=labels_of("web", [power_w] * 60, start_s=start_s).lazy())
        return hour_table([one], None, start_s=start_s, now_s=start_s + HOUR_S)

    return make


def watts(root):
    return read_summary(root).clusters[0].series.measured_w


def test_a_run_for_an_older_hour_publishes_the_newest_too(hour_of, tmp_path):
    stored = {0: hour_of(0, 1.0), 1: hour_of(1, 2.0)}
    publish(tmp_path, stored.values, now_s=0.0)
    stored[0] = hour_of(0, 5.0)  # a late hour
    publish(tmp_path, stored.values, now_s=0.0)
    assert watts(tmp_path) == [5.0, 2.0]


def test_hours_are_read_again_where_another_run_published_newer_ones(hour_of, tmp_path):
    early, late = hour_of(0, 1.0), hour_of(1, 2.0)
    publish(tmp_path, lambda: [early, late], now_s=0.0)
    reads = iter([[early], [early, late]])  # a listing from before the other run, and one from after it
    publish(tmp_path, lambda: next(reads), now_s=0.0)
    assert watts(tmp_path) == [1.0, 2.0]


def test_hours_that_were_removed_do_not_come_back(hour_of, tmp_path):
    early, late = hour_of(0, 1.0), hour_of(1, 2.0)
    publish(tmp_path, lambda: [early, late], now_s=0.0)
    publish(tmp_path, lambda: [early], now_s=0.0)
    assert watts(tmp_path) == [1.0]


def test_a_damaged_summary_is_replaced(hour_of, tmp_path):
    (tmp_path / FLEET_FILE).write_text("{}")
    publish(tmp_path, lambda: [hour_of(0, 1.0)], now_s=0.0)
    assert watts(tmp_path) == [1.0]


def test_runs_at_the_same_time_leave_the_content_of_all(hour_of, tmp_path):
    stored = {}

    def run(number):
        stored[number] = hour_of(number, 1.0 + number)
        publish(tmp_path, lambda: list(stored.values()), now_s=0.0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [3, 0, 2, 1]))
    assert watts(tmp_path) == [1.0, 2.0, 3.0, 4.0]


def test_a_summary_on_an_object_store_is_read_as_it_was_written(hour_of):
    found, size_bytes = publish("memory://fleet-of-a-test/models", lambda: [hour_of(0, 1.0)], now_s=0.0)
    assert read_summary("memory://fleet-of-a-test/models") == found
    assert size_bytes > 500


def test_without_any_hour_nothing_is_published(tmp_path):
    with pytest.raises(Unavailable, match="no hour has anything to sum up"):
        publish(tmp_path, list, now_s=0.0)
    assert not (tmp_path / FLEET_FILE).exists()
