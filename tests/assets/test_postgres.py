"""Dagster's history on a real PostgreSQL, with the settings that `podpower up` writes."""

import dagster as dg
import pytest

from podpower.cli.homes import home_at, home_environment
from podpower.settings import DAGSTER_HOME, POSTGRES_URL
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
