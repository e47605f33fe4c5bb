"""Several clusters: hourly assets of their own, one encoder and one model."""

import dagster as dg
import pytest

from podpower.errors import InvalidInput
from podpower.settings import Settings
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.definitions import definitions
from podpower_assets.labels.schedules import HOURLY_ASSETS
from podpower_assets.resources import Source, Tables
from tests.assets.conftest import DEFS

TEN = [FIRST, *(Cluster(f"eu-{number}") for number in range(2, 11))]
LOADED = definitions(Settings(), TEN)
GRAPH = LOADED.resolve_asset_graph()


def parents(key: dg.AssetKey) -> set[str]:
    return {parent.to_user_string() for parent in GRAPH.get(key).parent_keys}


def test_the_first_cluster_has_plain_keys_and_every_other_its_name_in_front() -> None:
    one = {key.to_user_string() for key in DEFS.resolve_asset_graph().get_all_asset_keys()}
    ten = {key.to_user_string() for key in GRAPH.get_all_asset_keys()}
    own = (*HOURLY_ASSETS, "cluster_journal", "prometheus")
    assert ten - one == {f"{cluster.name}/{name}" for cluster in TEN[1:] for name in own}
    assert ten >= one


@pytest.mark.parametrize("name", HOURLY_ASSETS)
def test_an_asset_depends_on_assets_of_its_own_cluster_only_and_is_in_its_group(name: str) -> None:
    own = {f"eu-2/{parent}" for parent in parents(FIRST.key(name)) - {"encoder"}}
    assert parents(TEN[1].key(name)) - {"encoder"} == own
    assert GRAPH.get(TEN[1].key(name)).group_name == "eu_2"


def test_encoder_and_model_learn_from_all_clusters() -> None:
    assert parents(dg.AssetKey("encoder")) == {cluster.key("workload_specs").to_user_string() for cluster in TEN}
    assert parents(dg.AssetKey("knn_model")) == {cluster.key("training_rows").to_user_string() for cluster in TEN}


def test_every_cluster_has_a_sensor_a_schedule_and_a_job_of_its_own() -> None:
    repository = LOADED.get_repository_def()
    assert {"workload_changes", "workload_changes_eu_2"} <= {s.name for s in repository.sensor_defs}
    assert {"kepler_labels_hourly", "kepler_labels_hourly_eu_2"} <= {s.name for s in repository.schedule_defs}
    job = repository.get_job("finished_hour_eu_2")
    assert {key.path[0] for key in job.asset_layer.executable_asset_keys} == {"eu-2"}


def test_tables_and_journal_of_a_further_cluster_have_folders_of_their_own() -> None:
    tables, source = Tables(root="/home/tables"), Source(recording="/home/journal")
    assert str(tables.of(FIRST).path("features", "2026-01-01-00:00")) == "/home/tables/features/2026-01-01-0000.parquet"
    assert tables.of(TEN[1]).root == "/home/tables/eu-2"
    assert (source.of(FIRST).recording, source.of(TEN[1]).recording) == ("/home/journal", "/home/clusters/eu-2/journal")


@pytest.mark.parametrize("name", ["../up", "a/b", "EU", "-a", "a" * 64, "a_b"])
def test_names_that_are_no_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name of a cluster"):
        Cluster(name)
