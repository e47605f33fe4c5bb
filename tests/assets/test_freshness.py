"""What goes stale turns red: labels, rows and the served model."""

from pathlib import Path

import dagster as dg
import pytest

from podpower.collector.migration import migrate_objects
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.reader import JournalReader
from podpower.sources.recording import Recording
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.freshness import evaluate, freshness_sensor
from podpower_assets.resources import Models, Source, Tables
from tests.assets.conftest import START_S, Place

END_S = START_S + 2 * 3600


def verdicts(place: Place, now_s: float) -> dict[str, bool]:
    found = evaluate([FIRST], place.source, place.tables, place.models, now_s=now_s)
    return {one.key.name: one.passed for one in found}


def test_data_up_to_the_present_are_fresh(made: Place) -> None:
    assert all(verdicts(made, END_S + 60).values())


@pytest.mark.parametrize(
    ("hours_later", "stale"),
    [
        (1.9, set()),
        (2.1, {"journal_is_fresh", "labels_are_fresh", "rows_are_fresh"}),
        (6.1, {"journal_is_fresh", "labels_are_fresh", "rows_are_fresh", "served_model_is_fresh"}),
    ],
)
def test_what_stops_is_stale_after_its_limit(made: Place, hours_later: float, stale: set[str]) -> None:
    found = verdicts(made, END_S + hours_later * 3600)
    assert {name for name, passed in found.items() if not passed} == stale


@pytest.mark.parametrize(("hours_later", "passed"), [(1.9, True), (2.1, False)])
def test_a_journal_that_nobody_writes_is_stale_while_labels_go_on(
    recording: Path, tmp_path: Path, hours_later: float, passed: bool
) -> None:
    journal = tmp_path / "journal"
    migrate_objects(Recording(recording), JournalFiles(journal))
    reached_s = JournalReader(journal).reached_s()
    tables, models = Tables(root=str(tmp_path / "tables")), Models(root=str(tmp_path / "models"))
    found = evaluate([FIRST], Source(recording=str(journal)), tables, models, now_s=reached_s + hours_later * 3600)
    [one] = [one for one in found if one.key.name == "journal_is_fresh"]
    assert (one.key.asset_key, one.passed) == (dg.AssetKey("cluster_journal"), passed)


def test_a_journal_that_cannot_be_read_is_not_fresh_and_hides_no_other_verdict(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "journal.json").write_bytes(b"?")
    tables, models = Tables(root=str(tmp_path / "tables")), Models(root=str(tmp_path / "models"))
    found = {one.key.name: one for one in evaluate([FIRST], Source(recording=str(journal)), tables, models, now_s=0.0)}
    assert "is damaged" in found["journal_is_fresh"].description
    assert not found["journal_is_fresh"].passed
    assert {*found} == {"journal_is_fresh", "labels_are_fresh", "rows_are_fresh", "served_model_is_fresh"}


def test_a_recording_of_another_day_is_as_fresh_as_its_end(made: Place) -> None:
    assert all(verdicts(made, END_S + 400 * 86_400).values())


def test_a_live_cluster_beside_a_recording_is_compared_with_the_present(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a recording as the first cluster, whatever stopped in the others stayed fresh for ever."""
    migrate_objects(Recording(recording), JournalFiles(tmp_path / "clusters" / "edge" / "journal"))
    text = f"clusters: [{{name: demo, recording: {recording}}}, {{name: edge, context: none}}]"
    (tmp_path / "clusters.yaml").write_text(text)
    monkeypatch.setenv("PODPOWER_CLUSTERS", str(tmp_path / "clusters.yaml"))
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    clusters = [FIRST, Cluster("edge", has_meter=False)]
    source, tables = Source(recording=str(recording)), Tables(root=str(tmp_path / "tables"))
    found = evaluate(clusters, source, tables, Models(root=str(tmp_path / "models")), now_s=END_S + 3 * 86_400)
    passed = {one.key.asset_key.to_user_string(): one.passed for one in found if one.key.name == "journal_is_fresh"}
    assert passed == {"cluster_journal": True, "edge/cluster_journal": False}


def test_where_nothing_was_made_yet_everything_is_stale(place: Place, tmp_path: Path) -> None:
    place.tables, place.models = Tables(root=str(tmp_path / "no")), Models(root=str(tmp_path / "none"))
    assert {name for name, passed in verdicts(place, END_S).items() if passed} == {"journal_is_fresh"}


def test_a_verdict_is_reported_when_it_changes_without_a_run(made: Place) -> None:
    sensor = freshness_sensor([FIRST])
    with dg.instance_for_test() as instance:

        def tick() -> None:
            with dg.build_sensor_context(instance=instance, resources=made.resources) as context:
                sensor(context)

        tick()
        key = dg.AssetCheckKey(dg.AssetKey("kepler_labels"), "labels_are_fresh")
        first = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert first.evaluation is not None
        assert first.evaluation.passed
        tick()
        again = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert again.id == first.id
        assert not instance.get_run_records()


def test_a_new_platform_is_not_stale_before_its_limits(place: Place, tmp_path: Path) -> None:
    place.tables, place.models = Tables(root=str(tmp_path / "no")), Models(root=str(tmp_path / "none"))
    sensor = freshness_sensor([FIRST])
    key = dg.AssetCheckKey(dg.AssetKey("promoted_model"), "served_model_is_fresh")

    def reported(cursor: str | None) -> tuple[bool, str | None]:
        with dg.build_sensor_context(instance=place.instance, resources=place.resources, cursor=cursor) as context:
            sensor(context)
            storage = place.instance.event_log_storage
            return key in storage.get_latest_asset_check_execution_by_key([key]), context.cursor

    found, cursor = reported(None)
    assert not found
    assert cursor is not None
    assert reported(str(float(cursor) - 7 * 3600))[0]
