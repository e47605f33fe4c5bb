"""States of partitioned checks, which the storage remembers: always those that Dagster computes from all events."""

import json
import time

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus as Status
from dagster._core.storage.asset_check_state import AssetCheckState, bulk_update_asset_check_state
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.test_utils import create_run_for_test

from podpower.cli.homes import home_at, home_environment
from podpower.settings import DAGSTER_HOME, POSTGRES_URL
from podpower_assets.checks import check_specs
from podpower_assets.partitions import HOUR_FORMAT
from podpower_assets.resources import Models, Tables
from podpower_assets.retention import retention_schedule
from podpower_assets.storage import check_states
from podpower_assets.storage.check_states import CheckStates
from podpower_assets.storage.memories import place_of
from tests.postgres import serving_postgres
from tests.waiting import until

ASSET = dg.AssetKey("rows")
NAMES = ("is_whole", "is_finite")
CHECKS = [dg.AssetCheckKey(ASSET, name) for name in NAMES]
HOURS = dg.TimeWindowPartitionsDefinition(start="2026-01-01-00:00", fmt=HOUR_FORMAT, cron_schedule="0 * * * *")
FIRST, SECOND, THIRD = (f"2026-01-01-0{hour}:00" for hour in range(3))


class History:
    """An instance of its own, and what is recorded in it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def materialize(self, hour: str, **checks: bool) -> None:
        """Record a materialization of an hour, and results of checks of it."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(ASSET, partition=hour))
        self.check(hour, **checks)

    def check(self, hour: str, **checks: bool) -> None:
        """Record results of checks of what is there of an hour, by a run of their own."""
        stored = self.instance.event_log_storage.get_latest_storage_id_by_partition(
            ASSET, DagsterEventType.ASSET_MATERIALIZATION, {hour}
        )
        target = AssetCheckEvaluationTargetMaterializationData(storage_id=stored[hour], run_id="", timestamp=0.0)
        run = create_run_for_test(self.instance, status=dg.DagsterRunStatus.SUCCESS)
        for name, passed in checks.items():
            result = dg.AssetCheckEvaluation(
                asset_key=ASSET, check_name=name, partition=hour, passed=passed, target_materialization_data=target
            )
            self._record(DagsterEventType.ASSET_CHECK_EVALUATION, result, run)

    def plan(self, hour: str, name: str) -> dg.DagsterRun:
        """Record a run that is about to check an hour."""
        run = create_run_for_test(self.instance, status=dg.DagsterRunStatus.STARTED)
        subset = HOURS.empty_subset().with_partition_keys([hour])
        planned = AssetCheckEvaluationPlanned(asset_key=ASSET, check_name=name, partitions_subset=subset)
        self._record(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, planned, run)
        return run

    def _record(self, kind: DagsterEventType, data: object, run: dg.DagsterRun) -> None:
        self.instance.report_dagster_event(DagsterEvent(kind.value, "job", event_specific_data=data), run_id=run.run_id)

    def states(self, *, of: dg.PartitionsDefinition = HOURS) -> dict[str, dict[Status, set[str]]]:
        """Return the partitions of each status of each check, which must be those that Dagster computes."""
        keys = [(key, of) for key in CHECKS]
        found = self.instance.event_log_storage.get_asset_check_state(keys)
        anew = bulk_update_asset_check_state(self.instance, keys, {key: AssetCheckState.empty() for key in CHECKS})
        assert {key: read(state) for key, state in found.items()} == {key: read(state) for key, state in anew.items()}
        return {key.name: read(state) for key, state in found.items()}


def read(state: AssetCheckState) -> dict[Status, set[str]]:
    """Return the partitions of each status that has some."""
    subsets = {status: set(one.subset_value.get_partition_keys()) for status, one in state.subsets.items()}
    return {status: keys for status, keys in subsets.items() if keys}


def reads_of_infos(monkeypatch, history) -> list[dict]:
    """Return a list of the arguments with which results of checks are read from now on."""
    found, storage = [], type(history.instance.event_log_storage)
    read_infos = storage.get_asset_check_partition_info
    monkeypatch.setattr(
        storage,
        "get_asset_check_partition_info",
        lambda self, keys, *rest, **named: found.append(named) or read_infos(self, keys, *rest, **named),
    )
    return found


def asked(history) -> dict[Status, set[str]]:
    """Return the state of the first check as a page gets it."""
    states = history.instance.event_log_storage.get_asset_check_state([(key, HOURS) for key in CHECKS])
    return read(states[CHECKS[0]])


@pytest.fixture(scope="module")
def postgres_url():
    with serving_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def history(request, tmp_path, monkeypatch):
    environment = {}
    if request.param == "postgres":
        environment[POSTGRES_URL] = request.getfixturevalue("postgres_url")
        monkeypatch.setenv(POSTGRES_URL, environment[POSTGRES_URL])
    home = home_environment(home_at(str(tmp_path)), environment)[DAGSTER_HOME]
    monkeypatch.setenv(DAGSTER_HOME, home)
    with dg.DagsterInstance.from_config(home) as instance:
        instance.wipe()
        yield History(instance)


def test_the_written_settings_choose_the_storage_that_remembers(history):
    assert isinstance(history.instance.event_log_storage, CheckStates)


def test_no_results_are_no_states(history):
    assert history.states() == {"is_whole": {}, "is_finite": {}}


def test_the_latest_execution_of_each_check_is_the_one_that_dagster_finds(history):
    history.materialize(FIRST, is_whole=True, is_finite=False)
    history.materialize(THIRD, is_whole=False)
    history.plan(SECOND, "is_finite")
    storage, never = history.instance.event_log_storage, dg.AssetCheckKey(ASSET, "never_ran")
    for keys in ([*CHECKS, never], CHECKS[:1], [never], []):
        assert storage.get_latest_asset_check_execution_by_key(
            keys
        ) == SqlEventLogStorage.get_latest_asset_check_execution_by_key(storage, keys)
    found = storage.get_latest_asset_check_execution_by_key(CHECKS)
    assert [found[key].partition for key in CHECKS] == [THIRD, SECOND]
    first = storage.get_latest_asset_check_execution_by_key(CHECKS, PartitionKeyFilter(key=FIRST))
    assert {one.partition for one in first.values()} == {FIRST}


def test_results_are_the_states_of_their_partitions(history):
    history.materialize(FIRST, is_whole=True, is_finite=False)
    history.materialize(THIRD, is_whole=True)
    assert history.states() == {
        "is_whole": {Status.SUCCEEDED: {FIRST, THIRD}},
        "is_finite": {Status.FAILED: {FIRST}},
    }


def test_a_later_result_replaces_the_remembered_one(history):
    history.materialize(FIRST, is_whole=False)
    history.materialize(SECOND, is_whole=False)
    assert history.states()["is_whole"] == {Status.FAILED: {FIRST, SECOND}}
    history.check(SECOND, is_whole=True)
    assert history.states()["is_whole"] == {Status.FAILED: {FIRST}, Status.SUCCEEDED: {SECOND}}


def test_a_new_materialization_clears_the_remembered_state(history):
    history.materialize(FIRST, is_whole=True)
    history.materialize(SECOND, is_whole=True)
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST, SECOND}}
    history.materialize(FIRST)
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {SECOND}}


def test_a_planned_check_is_in_progress_until_its_run_ends(history):
    history.materialize(FIRST, is_whole=True)
    run = history.plan(SECOND, "is_whole")
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST}, Status.IN_PROGRESS: {SECOND}}
    history.instance.report_run_failed(run)
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST}, Status.EXECUTION_FAILED: {SECOND}}


def test_states_of_a_wiped_asset_are_forgotten(history):
    history.materialize(FIRST, is_whole=True)
    history.states()
    history.instance.wipe_assets([ASSET])
    assert history.states()["is_whole"] == {}


def test_states_of_other_partitions_are_computed_anew(history):
    history.materialize(FIRST, is_whole=True)
    history.materialize(SECOND, is_whole=True)
    history.states()
    later = dg.TimeWindowPartitionsDefinition(start=SECOND, fmt=HOUR_FORMAT, cron_schedule="0 * * * *")
    assert history.states(of=later)["is_whole"] == {Status.SUCCEEDED: {SECOND}}


def test_many_changes_are_read_from_the_whole_history(history, monkeypatch):
    monkeypatch.setattr(check_states, "_MOST_CHANGED", 1)
    history.materialize(FIRST, is_whole=True)
    history.states()
    history.materialize(SECOND, is_whole=True)
    history.materialize(THIRD, is_whole=False)
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST, SECOND}, Status.FAILED: {THIRD}}


def test_a_remembered_state_is_not_computed_partition_by_partition(history, monkeypatch):
    history.materialize(FIRST, is_whole=True)
    history.states()
    monkeypatch.setattr(check_states, "LATE_EVENTS", 0)
    looked_at = reads_of_infos(monkeypatch, history)
    history.materialize(SECOND, is_whole=True)
    asked(history)
    assert looked_at == [{"partition_keys": [SECOND]}]


def test_partitions_in_which_nothing_happened_since_are_not_read_again(history, monkeypatch):
    history.materialize(FIRST, is_whole=True, is_finite=False)
    history.plan(SECOND, "is_whole")
    history.states()
    looked_at = reads_of_infos(monkeypatch, history)
    assert asked(history) == {Status.SUCCEEDED: {FIRST}, Status.IN_PROGRESS: {SECOND}}
    assert looked_at == []
    history.check(FIRST, is_whole=False)
    assert asked(history) == {Status.FAILED: {FIRST}, Status.IN_PROGRESS: {SECOND}}
    assert looked_at == [{"partition_keys": [FIRST]}]


def test_an_event_that_another_process_commits_late_is_found(history, monkeypatch):
    newest_event = CheckStates._newest_event
    monkeypatch.setattr(CheckStates, "_newest_event", lambda self: newest_event(self) + 100)
    history.materialize(FIRST, is_whole=True)
    history.states()
    history.materialize(SECOND, is_whole=True)
    history.check(FIRST, is_whole=False)
    assert history.states()["is_whole"] == {Status.FAILED: {FIRST}, Status.SUCCEEDED: {SECOND}}


def test_a_result_that_is_written_after_its_event_is_found(history, monkeypatch):
    history.materialize(FIRST, is_whole=True)
    storage, late = type(history.instance.event_log_storage), []
    write = storage.store_asset_check_event
    monkeypatch.setattr(storage, "store_asset_check_event", lambda *arguments: late.append(arguments))
    history.check(FIRST, is_whole=False)
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST}}
    write(*late[0])
    assert history.states()["is_whole"] == {Status.FAILED: {FIRST}}


def test_a_request_of_one_check_leaves_the_changes_of_the_others(history):
    history.materialize(FIRST, is_whole=True, is_finite=True)
    history.states()
    history.materialize(SECOND, is_whole=True, is_finite=False)
    history.instance.event_log_storage.get_asset_check_state([(CHECKS[0], HOURS)])
    assert history.states()["is_finite"] == {Status.SUCCEEDED: {FIRST}, Status.FAILED: {SECOND}}


@pytest.fixture
def restarted(history, monkeypatch):
    """The history as the next process opens it."""
    with dg.DagsterInstance.from_ref(history.instance.get_ref()) as instance:
        yield History(instance)


def test_the_next_process_begins_with_the_states_that_were_computed(history, restarted, monkeypatch):
    history.materialize(FIRST, is_whole=True, is_finite=True)
    history.states()
    history.materialize(SECOND, is_whole=False)
    looked_at = reads_of_infos(monkeypatch, history)
    monkeypatch.setattr(check_states, "LATE_EVENTS", 0)
    assert asked(restarted) == {Status.SUCCEEDED: {FIRST}, Status.FAILED: {SECOND}}
    assert looked_at == [{"partition_keys": [SECOND]}]
    restarted.states()


def test_retention_computes_the_states_for_the_first_page(history, restarted, tmp_path, monkeypatch):
    @dg.asset(
        name="rows", partitions_def=HOURS, check_specs=check_specs(ASSET, HOURS, warning=dict.fromkeys(NAMES, ""))
    )
    def rows():
        return dg.MaterializeResult()

    history.materialize(FIRST, is_whole=True, is_finite=False)
    resources = {"tables": Tables(root=str(tmp_path / "tables")), "models": Models(root=str(tmp_path / "models"))}
    job = retention_schedule([], [rows]).job
    assert job.execute_in_process(instance=history.instance, resources=resources).success
    looked_at = reads_of_infos(monkeypatch, history)
    monkeypatch.setattr(check_states, "LATE_EVENTS", 0)
    assert asked(restarted) == {Status.SUCCEEDED: {FIRST}}
    assert looked_at == []
    restarted.states()


def test_changes_are_kept_every_hour(history, restarted, monkeypatch):
    monkeypatch.setattr(check_states, "LATE_EVENTS", 0)
    history.materialize(FIRST, is_whole=True)
    history.states()
    history.materialize(SECOND, is_whole=True)
    monkeypatch.setattr(check_states, "HOUR_S", 0.0)
    history.states()
    looked_at = reads_of_infos(monkeypatch, history)
    assert asked(restarted) == {Status.SUCCEEDED: {FIRST, SECOND}}
    assert looked_at == []


def test_the_next_process_does_not_know_what_was_wiped(history, restarted):
    history.materialize(FIRST, is_whole=True)
    history.states()
    history.instance.wipe_assets([ASSET])
    history.materialize(SECOND, is_whole=True)
    assert restarted.states()["is_whole"] == {Status.SUCCEEDED: {SECOND}}


OTHER = {"subsets": {"SUCCEEDED": '{"__class__": "Gone"}'}, "runs": {}}
TEXTS = ["{", json.dumps({"event": 1, "at_s": time.time(), "states": {"is_whole": OTHER}})]


@pytest.mark.parametrize("text", TEXTS, ids=["no json", "no such class"])
def test_what_another_release_kept_is_computed_again(history, text):
    history.materialize(FIRST, is_whole=True)
    history.instance.run_storage.set_cursor_values({place_of(ASSET): text})
    assert history.states()["is_whole"] == {Status.SUCCEEDED: {FIRST}}


def test_states_later_than_the_history_are_computed_again(history, restarted):
    history.materialize(FIRST, is_whole=True)
    history.states()
    place = place_of(ASSET)
    kept = history.instance.run_storage.get_cursor_values({place})[place]
    later = json.dumps(json.loads(kept) | {"event": 10**9})
    history.instance.run_storage.set_cursor_values({place: later})
    history.check(FIRST, is_whole=False)
    assert restarted.states()["is_whole"] == {Status.FAILED: {FIRST}}


def test_what_another_process_wipes_is_forgotten_at_the_next_request(history, restarted):
    history.materialize(FIRST, is_whole=True)
    history.states()
    restarted.states()
    restarted.instance.wipe_assets([ASSET])
    assert history.states()["is_whole"] == {}


def test_after_a_day_a_page_gets_what_is_remembered_while_the_history_is_read_again(history, monkeypatch):
    history.materialize(FIRST, is_whole=True)
    history.materialize(SECOND, is_whole=True)
    whole = history.states()["is_whole"]
    with history.instance.event_log_storage.index_connection() as connection:  # another process removes it
        connection.execute(sa.text("DELETE FROM asset_check_executions WHERE partition = :of"), {"of": SECOND})
        if connection.dialect.name == "postgresql":
            connection.commit()
    monkeypatch.setattr(check_states, "LATE_EVENTS", 0)
    assert asked(history) == whole
    monkeypatch.setattr(check_states, "_REFRESHED_S", 0.0)
    assert asked(history) == whole
    monkeypatch.setattr(check_states, "_REFRESHED_S", 86_400.0)
    until(lambda: asked(history) != whole)
    assert asked(history) == {Status.SUCCEEDED: {FIRST}}


def test_a_page_does_not_fail_where_the_states_cannot_be_kept(history, monkeypatch, caplog):
    def locked(*_):
        raise sa.exc.OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(type(history.instance.run_storage), "set_cursor_values", locked)
    history.materialize(FIRST, is_whole=True)
    assert asked(history) == {Status.SUCCEEDED: {FIRST}}
    assert "database is locked" in caplog.text


def test_a_database_that_is_away_leaves_what_is_remembered(history, monkeypatch, caplog):
    history.materialize(FIRST, is_whole=True)
    states = asked(history)
    monkeypatch.setattr(check_states, "_REFRESHED_S", 0.0)
    monkeypatch.setattr(CheckStates, "_from_history", lambda *_, **__: 1 / 0)

    def fails() -> bool:
        assert asked(history) == states
        return "states of checks of rows were not refreshed" in caplog.text

    until(fails)
