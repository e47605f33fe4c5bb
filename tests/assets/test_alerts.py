"""One message for each cause, with what to do, where people look."""

import json
import time

import dagster as dg
import httpx
import msgspec
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._utils.error import SerializableErrorInfo

from podpower_assets import failed_checks
from podpower_assets.alerts import alerts
from podpower_assets.checks import check_specs
from tests.http_servers import Response, serving


class Webhook:
    """A receiver of Slack's messages, which answers `status`."""

    def __init__(self):
        self.received, self.status = [], 200

    def respond(self, request):
        if self.status == 200:
            self.received.append(json.loads(request.body))
        return Response(status=self.status)


@pytest.fixture
def webhook(monkeypatch):
    receiver = Webhook()
    with serving(receiver.respond) as address:
        monkeypatch.setenv("PODPOWER_ALERT_WEBHOOK", f"{address}/alert")
        yield receiver


@dg.op(config_schema={"why": str})
def breaks(context):
    raise dg.Failure(description=context.op_config["why"])


@dg.job(tags={"dagster/partition": "2026-01-01-09:00"})
def broken():
    breaks()


@dg.op
def breaks_too():
    raise dg.Failure(description="2026-01-01-03:00: http://prom:9090: answers 401")


@dg.job
def other():
    breaks_too()


@dg.asset(check_specs=[dg.AssetCheckSpec("energy_is_not_all_zero", asset="labels")])
def labels(context):
    Desk.during()
    passed = "zero" not in context.run.tags
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=passed, description="3 hours of zeros" if not passed else None)]
    )


HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00")


@dg.asset(partitions_def=HOURS, check_specs=check_specs(dg.AssetKey("hourly"), HOURS, warning={"hour_has_rows": ""}))
def hourly(context):
    passed, severity = "empty" not in context.run.tags, dg.AssetCheckSeverity.ERROR
    if "warn" in context.run.tags:
        severity = dg.AssetCheckSeverity.WARN
    yield dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=passed, severity=severity, description="no rows")]
    )


@dg.sensor(job=broken)
def looks():
    pass


@dg.schedule(job=broken, cron_schedule="37 3 * * *")
def daily():
    pass


REPOSITORY = dg.Definitions(
    assets=[labels, hourly], jobs=[broken], sensors=[looks], schedules=[daily]
).get_repository_def()
AWAY = SerializableErrorInfo("OperationalError: the database system is shutting down\nSELECT 1", [], None)


class Desk:
    """A Dagster instance, and the sensor that goes on from its cursor. Runs of `labels` call `during`."""

    during = staticmethod(lambda: None)

    def __init__(self, instance):
        self.instance, self.cursor = instance, None

    def tick(self):
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, repository_def=REPOSITORY) as context:
            self.cursor = alerts(context).cursor

    def fail(self, why):
        config = {"ops": {"breaks": {"config": {"why": why}}}}
        return broken.execute_in_process(config, instance=self.instance, raise_on_error=False)

    def label(self, **tags):
        assert dg.materialize([labels], instance=self.instance, tags=tags).success

    def hour(self, hour, **tags):
        key = f"2026-01-01-{hour:02}:00"
        assert dg.materialize([hourly], instance=self.instance, partition_key=key, tags=tags).success

    def evaluate(self, name, status, *, failures=0, ago_s=0.0):
        """Record an evaluation of a sensor or schedule as Dagster's daemon does."""
        place = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", 1, location_name="podpower"), "all")
        origin = RemoteInstigatorOrigin(place, name)
        kind, data = InstigatorType.SENSOR, SensorInstigatorData()
        if name == "daily":
            kind, data = InstigatorType.SCHEDULE, ScheduleInstigatorData("37 3 * * *")
        state = InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data)
        if self.instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
            self.instance.add_instigator_state(state)
        self.instance.create_tick(
            TickData(
                state.instigator_origin_id, name, kind, status, time.time() - ago_s, selector_id=state.selector_id,
                error=AWAY if status == TickStatus.FAILURE else None, consecutive_failure_count=failures,
            )
        )  # fmt: skip


@pytest.fixture
def desk():
    with dg.instance_for_test() as instance:
        yield Desk(instance)


def test_a_failed_run_is_posted_with_its_partition_and_error(desk, webhook):
    run = desk.fail("no series at 10.0.0.1: is Kepler scraped?")
    desk.tick()
    (message,) = webhook.received
    assert message == {
        "text": "podpower: broken of 2026-01-01-09:00 failed: no series at 10.0.0.1: is Kepler scraped? "
        f"(run {run.run_id}) What it was to make is requested again by itself; the run's page in the Dagster UI has "
        "its log."
    }


def test_a_cause_is_posted_once_however_many_runs_it_fails(desk, webhook):
    for attempt in range(3):
        desk.fail(f"no answer within {attempt} s")
        desk.tick()
    desk.fail("another reason")
    desk.tick()
    assert [m["text"].split("failed: ")[1].split(" (run")[0] for m in webhook.received] == [
        "no answer within 0 s", "another reason",
    ]  # fmt: skip


def test_one_error_of_several_partitions_and_jobs_is_one_cause(desk, webhook):
    """A Prometheus that refused credentials was posted by each job, and again for one partition after several."""
    refused = "http://prom:9090: answers 401"
    desk.fail(f"2 of 3 partitions of labels failed: 2026-01-01-00:00: {refused}; 2026-01-01-01:00: {refused}")
    desk.fail(f"2026-01-01-02:00: {refused}")
    assert not other.execute_in_process(instance=desk.instance, raise_on_error=False).success
    desk.tick()
    assert len(webhook.received[0]["text"].splitlines()) == 1


def test_what_lasts_a_day_is_posted_again(desk, webhook):
    desk.label(zero="yes")
    desk.tick()
    cursor = msgspec.json.decode(desk.cursor)
    for sent in cursor["sent"].values():
        sent["at_s"] -= 86_401
    desk.cursor = msgspec.json.encode(cursor).decode()
    desk.tick()
    desk.tick()
    assert len(webhook.received) == 2


def test_a_failed_check_is_posted_with_its_fix_and_again_when_it_passes(desk, webhook):
    desk.label()
    desk.tick()
    desk.label(zero="yes")
    desk.tick()
    desk.tick()
    desk.label()
    desk.tick()
    failed, passed = [m["text"] for m in webhook.received]
    assert failed.startswith("podpower: labels: energy_is_not_all_zero failed: 3 hours of zeros")
    assert "podpower doctor" in failed
    assert passed == "podpower: labels: energy_is_not_all_zero passes again"


def test_a_check_that_a_run_is_about_to_make_has_neither_failed_nor_passed(desk, webhook, monkeypatch):
    desk.label(zero="yes")
    desk.tick()
    with monkeypatch.context() as patched:
        patched.setattr(Desk, "during", desk.tick)
        desk.label()
    assert len(webhook.received) == 1
    desk.tick()
    assert webhook.received[1]["text"] == "podpower: labels: energy_is_not_all_zero passes again"


def test_a_message_that_was_not_taken_is_sent_again(desk, webhook):
    desk.fail("no room")
    webhook.status = 503
    with pytest.raises(httpx.HTTPStatusError):
        desk.tick()
    webhook.status = 200
    desk.tick()
    assert len(webhook.received) == 1


def texts(webhook):
    return [line.removeprefix("podpower: hourly: hour_has_rows of ") for m in webhook.received
            for line in m["text"].splitlines()]  # fmt: skip


@pytest.fixture
def at_noon(monkeypatch):
    """Days before are not looked at by the first tick."""
    monkeypatch.setattr("podpower_assets.alerts.time.time", lambda: 1767268800.0)


@pytest.mark.usefixtures("at_noon")
def test_a_failed_hour_is_posted_once_and_not_hidden_by_a_later_one_that_passes(desk, webhook):
    desk.hour(9, empty="yes")
    desk.hour(10)
    desk.tick()
    desk.tick()
    desk.hour(11)
    desk.tick()
    assert texts(webhook) == ["2026-01-01-09:00 failed: no rows"]
    desk.hour(9)
    desk.tick()
    desk.tick()
    assert texts(webhook)[1:] == ["2026-01-01-09:00 passes again"]


@pytest.mark.usefixtures("at_noon")
def test_hours_that_fail_together_share_a_line_and_a_further_one_has_its_own(desk, webhook):
    for hour in range(5):
        desk.hour(hour, empty="yes")
    desk.tick()
    desk.hour(6, empty="yes")
    desk.tick()
    assert texts(webhook) == [
        "2026-01-01-00:00, 2026-01-01-01:00, 2026-01-01-02:00 and 2 more failed: no rows",
        "2026-01-01-06:00 failed: no rows",
    ]


def test_hour_after_hour_that_fails_is_one_cause_which_is_posted_once_a_day(desk, webhook, monkeypatch):
    """A Kepler that read 0 J was posted every hour, for ever."""
    now_s = 1767268800.0
    monkeypatch.setattr("podpower_assets.alerts.time.time", lambda: now_s)
    for hour in range(9, 12):
        desk.hour(hour, empty="yes")
        desk.tick()
    assert texts(webhook) == ["2026-01-01-09:00 failed: no rows"]
    now_s += 86_400
    desk.hour(12, empty="yes")
    desk.tick()
    desk.hour(13, empty="yes")
    desk.tick()
    assert texts(webhook)[1:] == ["2026-01-01-09:00, 2026-01-01-10:00, 2026-01-01-11:00 and 1 more failed: no rows"]
    for hour in range(9, 14):
        desk.hour(hour)
    desk.tick()
    assert texts(webhook)[2:] == [
        "2026-01-01-09:00, 2026-01-01-10:00, 2026-01-01-11:00 and 2 more passes again",
    ]


@pytest.mark.usefixtures("at_noon")
def test_a_warning_of_an_hour_is_not_posted(desk, webhook):
    desk.hour(9, empty="yes", warn="yes")
    desk.tick()
    assert webhook.received == []


@pytest.mark.usefixtures("at_noon")
def test_a_tick_reads_the_results_since_the_last_one_not_those_of_a_year(desk, webhook, monkeypatch):
    for hour in range(4):
        desk.hour(hour)
    desk.tick()
    monkeypatch.setattr(failed_checks, "LATE_EVENTS", 0)
    looked_at, storage = [], type(desk.instance.event_log_storage)
    whole = storage.get_asset_check_partition_info
    monkeypatch.setattr(
        storage,
        "get_asset_check_partition_info",
        lambda self, keys, **named: looked_at.append(named["partition_keys"]) or whole(self, keys, **named),
    )
    desk.tick()
    assert looked_at == []
    desk.hour(4, empty="yes")
    desk.tick()
    assert looked_at == [["2026-01-01-04:00"]]
    assert texts(webhook) == ["2026-01-01-04:00 failed: no rows"]


@pytest.mark.parametrize("limit", ["_MOST_LOOKED_UP", "_MOST_EVENTS"])
@pytest.mark.usefixtures("at_noon")
def test_what_is_too_much_for_one_tick_is_posted_by_the_next(desk, webhook, monkeypatch, limit):
    monkeypatch.setattr(failed_checks, "LATE_EVENTS", 1)
    monkeypatch.setattr(failed_checks, limit, 3)
    desk.tick()
    hours = range(0, 10, 2)
    for hour in hours:
        desk.hour(hour, empty="yes")
    for _ in range(4):
        desk.tick()
    said = " ".join(texts(webhook))
    assert [hour for hour in hours if f"2026-01-01-0{hour}:00" in said] == list(hours)
    desk.tick()
    assert " ".join(texts(webhook)) == said


@pytest.mark.usefixtures("at_noon")
def test_warnings_do_not_hold_up_what_failed_after_them(desk, webhook, monkeypatch):
    monkeypatch.setattr(failed_checks, "_MOST_LOOKED_UP", 3)
    desk.tick()
    for hour in range(5):
        desk.hour(hour, empty="yes", warn="yes")
    desk.hour(6, empty="yes")
    for _ in range(4):
        desk.tick()
    assert texts(webhook) == ["2026-01-01-06:00 failed: no rows"]


WHY = "OperationalError: the database system is shutting down"


def test_a_sensor_that_cannot_be_evaluated_is_posted_and_again_when_it_can(desk, webhook):
    """Whatever it would request is not requested, without a failed run or check."""
    for failures in (1, 2):
        desk.evaluate("looks", TickStatus.FAILURE, failures=failures)
        desk.tick()
    assert webhook.received == []
    desk.evaluate("looks", TickStatus.FAILURE, failures=3)
    desk.tick()
    desk.evaluate("looks", TickStatus.STARTED, failures=3)
    desk.tick()
    desk.evaluate("looks", TickStatus.SKIPPED)
    desk.tick()
    assert [message["text"] for message in webhook.received] == [
        f"podpower: looks requests nothing, its evaluation fails: {WHY} Open its ticks in the Dagster UI.",
        "podpower: evaluation of looks passes again",
    ]


@pytest.mark.parametrize(("ago_s", "posted"), [(60.0, 0), (900.0, 1)], ids=["being repeated", "given up"])
def test_a_schedule_whose_one_evaluation_failed_is_posted(desk, webhook, ago_s, posted):
    desk.evaluate("daily", TickStatus.FAILURE, failures=1, ago_s=ago_s)
    desk.tick()
    assert len(webhook.received) == posted


def test_evaluations_of_a_sensor_that_is_gone_are_not_posted(desk, webhook):
    desk.evaluate("renamed", TickStatus.FAILURE, failures=9)
    desk.tick()
    assert webhook.received == []


def test_a_backfill_that_was_given_up_is_posted_once(desk, webhook):
    desk.tick()
    backfill = PartitionBackfill(
        "bcdfghjk", BulkActionStatus.FAILED, from_failure=False, tags={}, backfill_timestamp=time.time() - 3600.0,
        error=AWAY, backfill_end_timestamp=time.time(),
    )  # fmt: skip
    desk.instance.add_backfill(backfill)
    desk.tick()
    desk.tick()
    assert [message["text"] for message in webhook.received] == [
        f"podpower: backfill bcdfghjk was given up: {WHY} Launch it again: partitions that it made stay made."
    ]
