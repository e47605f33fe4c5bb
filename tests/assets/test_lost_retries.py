"""A run whose retry was lost, because code server or database were away when the daemon came to it, is retried after
all.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any, cast

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import (
    consume_new_runs_for_automatic_reexecution,
    should_retry,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import DAGSTER_EVENT_TYPES, EventLogConsumerDaemon

from podpower_assets.alerts import alerts
from podpower_assets.lost_retries import lost_retries
from tests.assets.conftest import DEFS


class WithoutCodeServer:
    """What the daemon works with while the code server is down."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def create_request_context(self) -> Any:
        raise DagsterUserCodeUnreachableError("Could not reach user code server")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 2}}) as instance:
        yield instance


def failed_run(instance: dg.DagsterInstance, **tags: str) -> str:
    run = instance.create_run_for_job(DEFS.resolve_job_def("finished_hour"), tags=tags)
    instance.report_run_failed(run)
    return run.run_id


def consume(instance: dg.DagsterInstance, run_id: str) -> None:
    """Do what the daemon does with a failed run, without a code server."""
    context = cast("IWorkspaceProcessContext", WithoutCodeServer(instance))
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    list(consume_new_runs_for_automatic_reexecution(context, records, logging.getLogger("daemon")))


def will_be_retried(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return should_retry(run, instance)


def failures(instance: dg.DagsterInstance, run_id: str) -> int:
    """Return how many events the daemon finds for the run: it comes to a run for each of them."""
    return len(instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def look(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    return cast("dg.SensorResult", lost_retries(dg.build_sensor_context(instance=instance, cursor=cursor)))


def test_a_lost_retry_is_given_to_the_daemon_again(instance: dg.DagsterInstance) -> None:
    run_id = failed_run(instance)
    assert will_be_retried(instance, run_id)
    consume(instance, run_id)
    assert not will_be_retried(instance, run_id)  # Dagster has given it up

    result = look(instance)

    assert result.run_requests in (None, [])
    assert failures(instance, run_id) == 2
    assert will_be_retried(instance, run_id)
    look(instance, result.cursor)  # the daemon has not come to it yet
    assert failures(instance, run_id) == 2


def test_a_retry_that_is_lost_once_more_is_given_back_once_more_with_an_end(instance: dg.DagsterInstance) -> None:
    run_id, cursor = failed_run(instance), None
    for _ in range(10):
        consume(instance, run_id)
        cursor = look(instance, cursor).cursor
    assert failures(instance, run_id) == 6
    assert not will_be_retried(instance, run_id)


def test_nobody_is_alerted_of_a_run_that_will_be_retried_after_all(instance: dg.DagsterInstance) -> None:
    """The tick of `alerts` may come before that of this sensor; the last loss is alerted of."""
    run_id, cursor, found = failed_run(instance), None, list[str]()
    for _ in range(7):
        consume(instance, run_id)
        context = dg.build_sensor_context(instance=instance, repository_def=DEFS.get_repository_def())
        found.append(str(cast("dg.SensorResult", alerts(context)).skip_reason))
        cursor = look(instance, cursor).cursor
    assert ["1 messages" in one for one in found] == [False] * 5 + [True] * 2


@pytest.mark.parametrize("retries", ["0", "2"])
def test_runs_that_failed_otherwise_are_left_alone(instance: dg.DagsterInstance, retries: str) -> None:
    """One without retries left, and one that the daemon is about to retry."""
    run_id = failed_run(instance, **{"dagster/max_retries": retries})
    look(instance)
    assert failures(instance, run_id) == 1


def test_a_run_without_retries_left_is_reported_once_only(instance: dg.DagsterInstance) -> None:
    run_id = failed_run(instance)
    consume(instance, run_id)
    instance.add_run_tags(run_id, {"dagster/max_retries": "0"})
    cursor = None
    for _ in range(3):
        cursor = look(instance, cursor).cursor
    assert failures(instance, run_id) == 2
    assert not will_be_retried(instance, run_id)


def lose_the_database(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an iteration of the daemon in which code server and database go away, and the database comes back."""

    def away(*_arguments: object, **_options: object) -> None:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))

    context = cast("IWorkspaceProcessContext", WithoutCodeServer(instance))
    with monkeypatch.context() as patched:
        patched.setattr(instance, "report_engine_event", away)
        list(EventLogConsumerDaemon().run_iteration(context))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now_s = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: now_s)


def test_a_retry_that_was_lost_with_the_database_is_given_to_the_daemon_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's daemon stores that it has come to the run although it failed to retry it. The run keeps the tag that it
    will be retried, so that no alert is posted either: with PostgreSQL stopped for a second at that moment it stayed so
    for ever.
    """
    places = {f"EVENT_LOG_CONSUMER_CURSOR-{event.value}" for event in DAGSTER_EVENT_TYPES}
    instance.daemon_cursor_storage.set_cursor_values(dict.fromkeys(places, "0"))
    run_id = failed_run(instance)
    lose_the_database(instance, monkeypatch)
    assert max(instance.daemon_cursor_storage.get_cursor_values(places).values()) > "0"
    cursor = look(instance).cursor
    assert failures(instance, run_id) == 1  # the daemon may still come to it

    later(monkeypatch, 180)
    look(instance, cursor)

    assert failures(instance, run_id) == 2
    assert will_be_retried(instance, run_id)


def test_a_run_to_which_the_daemon_never_comes_is_given_up_in_the_end_so_that_it_is_posted(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry is refused in silence too: of a job that was renamed, or of a backfill that has ended."""
    run_id, cursor = failed_run(instance), None
    later(monkeypatch, 180)
    for _ in range(10):
        cursor = look(instance, cursor).cursor
    assert failures(instance, run_id) == 6
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[WILL_RETRY_TAG] == "false"
