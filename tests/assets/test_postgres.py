"""Dagster's history on a real PostgreSQL, with the settings that `podpower up` writes."""

import threading
import time

import dagster as dg
import pytest
import sqlalchemy
from dagster._daemon.types import DaemonHeartbeat

from podpower.cli.homes import home_at, home_environment
from podpower.errors import Unavailable
from podpower.settings import DAGSTER_HOME, POSTGRES_URL
from podpower_assets.daemon import await_silence
from podpower_assets.storage.postgres import PostgresStorage
from tests.assets.conftest import HOURS, Place
from tests.postgres import serving_postgres


@pytest.fixture(scope="module")
def postgres_url():
    with serving_postgres() as url:
        yield url


def test_runs_events_and_ticks_are_kept_on_postgresql(postgres_url, recording, tmp_path, monkeypatch):
    environment = home_environment(home_at(str(tmp_path)), {POSTGRES_URL: postgres_url})
    monkeypatch.setenv(POSTGRES_URL, postgres_url)
    with dg.DagsterInstance.from_config(environment[DAGSTER_HOME]) as instance:
        place = Place(instance, recording, tmp_path)
        assert place.materialize("workload_specs", first=HOURS[0]).success
    with dg.DagsterInstance.from_config(environment[DAGSTER_HOME]) as again:
        assert again.get_materialized_partitions(dg.AssetKey("workload_specs")) == {HOURS[0]}
        assert len(again.get_run_records()) == 1
    assert not list((tmp_path / "dagster").rglob("*.db"))


def test_a_process_keeps_its_connection_and_makes_another_one_for_one_that_was_lost(postgres_url):
    def backend() -> int:
        with storage.run_storage.connect() as connection:
            return connection.execute(sqlalchemy.text("select pg_backend_pid()")).scalar_one()

    storage = PostgresStorage(postgres_url)
    first = backend()
    assert {backend() for _ in range(5)} == {first}
    with sqlalchemy.create_engine(postgres_url).connect() as other:
        other.execute(sqlalchemy.text(f"select pg_terminate_backend({first})"))
    assert backend() != first
    assert storage.run_storage._engine.pool._recycle <= 300  # after a failover the old server may answer, and not write
    storage.run_storage._engine.dispose()


@pytest.fixture
def history(postgres_url, tmp_path, monkeypatch):
    environment = home_environment(home_at(str(tmp_path)), {POSTGRES_URL: postgres_url})
    monkeypatch.setenv(POSTGRES_URL, postgres_url)
    with dg.DagsterInstance.from_config(environment[DAGSTER_HOME]) as instance:
        yield instance
        instance.wipe_daemon_heartbeats()


def beat(history, at_s):
    history.add_daemon_heartbeat(DaemonHeartbeat(at_s, "SENSOR", "of another machine", errors=[]))


def test_a_daemon_beside_that_of_another_machine_is_refused(history):
    """A second `podpower up` with the same PODPOWER_POSTGRES_URL ran beside the first one, of which only the log of its
    daemon knew.
    """
    ended = threading.Event()

    def live():
        while not ended.wait(0.1):
            beat(history, time.time())

    beat(history, time.time())
    other = threading.Thread(target=live)
    other.start()
    try:
        with pytest.raises(Unavailable, match="another Dagster daemon works on the database of PODPOWER_POSTGRES_URL"):
            await_silence(history, silent_s=60)
    finally:
        ended.set()
        other.join()


@pytest.mark.parametrize("age_s", [None, 0.0, 3600.0])
def test_a_daemon_starts_where_the_last_one_has_ended(history, age_s):
    if age_s is not None:
        beat(history, time.time() - age_s)
    await_silence(history, silent_s=0.5)
