"""Dagster's history on a real PostgreSQL, with the settings that `podpower up` writes."""

import dagster as dg
import pytest
import sqlalchemy

from podpower.cli.homes import home_at, home_environment
from podpower.settings import DAGSTER_HOME, POSTGRES_URL
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
    storage.run_storage._engine.dispose()
