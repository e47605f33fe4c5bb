"""A damaged or lost table is set aside, reported, left out of training, and made again by the platform alone."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from podpower.hours import HOUR_S
from podpower.settings import AssetSettings
from podpower.simulation import simulate
from podpower.training.train import train
from podpower_assets.checks import ENCODER_IS_WHOLE, TABLE_IS_WHOLE
from podpower_assets.damage import damaged_tables
from podpower_assets.features.restoring import damaged_encoder
from podpower_assets.model.window import window_rows
from podpower_assets.partitions import day_key, hours_between
from podpower_assets.resources import Tables
from tests.assets.conftest import DEFS, HOURLY, Place

SPECS, ROWS, FLEET = "workload_specs", "training_rows", "fleet_summary"


class Healer:
    """A platform of three recent hours, and its sensor, which goes on from its cursor. Requested runs are made."""

    def __init__(self, instance: dg.DagsterInstance, recording: Path, home: Path, hours: list[str]) -> None:
        self.place, self.hours, self.cursor = Place(instance, recording, home), hours, ""
        self.sensor = damaged_tables(AssetSettings())

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.place.instance,
            cursor=self.cursor or None,
            resources={"tables": self.place.tables},
            repository_def=DEFS.get_repository_def(),
        )
        found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor or ""
        return list(found.run_requests or [])

    def heal(self) -> list[tuple[set[str], str, str]]:
        """One tick and the runs that it requests; return their assets and hours."""
        done = []
        for request in self.tick():
            assets = {key.path[-1] for key in request.asset_selection or ()}
            first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
            self.place.materialize(*assets, first=first, last=last)
            done.append((assets, first, last))
        return done

    def path(self, asset: str, hour: str) -> Path:
        return Path(str(self.place.tables.path(asset, hour)))

    def status(self, asset: str, hour: str) -> AssetCheckExecutionRecordStatus | None:
        check = dg.AssetCheckKey(dg.AssetKey(asset), TABLE_IS_WHOLE)
        storage = self.place.instance.event_log_storage
        [info] = storage.get_asset_check_partition_info([check], partition_keys=[hour])
        return info.latest_execution_status

    def window(self) -> dict[str, object]:
        encoder = self.place.tables.require_encoder()
        _, window = window_rows([self.place.tables], day_key(time.time()), window_days=7, encoder=encoder)
        return window.recorded()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Three hours until now, made once: recording, home with Dagster's history, hours."""
    root = tmp_path_factory.mktemp("lived")
    start_s = (time.time() // HOUR_S - 2) * HOUR_S
    simulate(root / "recording", seed=3, start_s=start_s, hours=3, workloads=14)
    hours = hours_between(start_s, start_s + 3 * HOUR_S)
    (root / "home" / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(root / "home" / "dagster")) as instance:
        place = Place(instance, root / "recording", root / "home")
        assert place.materialize(*HOURLY, first=hours[0], last=hours[-1]).success
        assert place.materialize(FLEET, first=hours[0], last=hours[-1]).success
    return root / "recording", root / "home", hours


@pytest.fixture
def healer(lived: tuple[Path, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Healer]:
    recording, home, hours = lived
    monkeypatch.setattr("podpower_assets.versions._KNOWN", {})  # copies of a history give the same ids to other events
    shutil.copytree(home, tmp_path / "home")
    shutil.copytree(recording, tmp_path / "recording")
    with dg.DagsterInstance.local_temp(str(tmp_path / "home" / "dagster")) as instance:
        yield Healer(instance, tmp_path / "recording", tmp_path / "home", hours)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("asset", "harm"),
    [
        (SPECS, flip), ("features", truncate), ("kepler_labels", Path.unlink), ("job_labels", flip), (ROWS, truncate),
        (ROWS, Path.unlink), (FLEET, flip),
    ],
)  # fmt: skip
def test_a_partition_without_its_table_is_reported_and_made_again(healer: Healer, asset: str, harm) -> None:
    hour, path = healer.hours[0], healer.path(asset, healer.hours[0])
    assert healer.heal() == []
    whole, version = path.read_bytes(), healer.place.tables.digest(asset, hour)
    harm(path)
    requests = healer.tick()
    assert healer.status(asset, hour) == AssetCheckExecutionRecordStatus.FAILED
    assert [({k.path[-1] for k in r.asset_selection or ()}, r.partition_key) for r in requests] == [({asset}, None)]
    healer.place.materialize(asset, first=hour)
    assert healer.status(asset, hour) == AssetCheckExecutionRecordStatus.SUCCEEDED
    if asset != FLEET:  # which has the time at which it was made
        assert healer.place.tables.digest(asset, hour) == version
        assert path.read_bytes() == whole
    kept = list((path.parent / "damaged").glob("*")) if harm is not Path.unlink else [None]
    assert len(kept) == 1
    assert healer.heal() == []


def test_training_goes_on_without_a_damaged_hour_and_takes_it_in_again(healer: Healer) -> None:
    hour = healer.hours[0]
    before = healer.window()
    flip(healer.path(ROWS, hour))
    without = healer.window()
    assert without["missing_hours"] == [f"{ROWS} {hour}"]
    assert without["hours"] == before["hours"] - 1  # type: ignore[operator]
    assert healer.heal() == [({ROWS}, hour, hour)]
    assert healer.window() == before


def test_the_model_records_the_hours_it_was_made_without_so_that_it_is_made_again(healer: Healer) -> None:
    hour, day = healer.hours[0], day_key(time.time())
    flip(healer.path(ROWS, hour))
    healer.place.materialize("knn_model", first=day)
    verdict = healer.place.tables.verdict("knn_model", day)
    assert verdict is not None
    assert set(verdict.consumed[ROWS]) == set(healer.hours[1:])


def test_a_partition_whose_sources_are_gone_is_a_gap_and_requested_ever_more_rarely(
    healer: Healer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, now_s = healer.hours[0], time.time()
    for asset in (ROWS, "features"):
        healer.path(asset, hour).unlink()
    healer.path("features", hour).with_suffix(".verdict.json").unlink()
    flip(healer.path(SPECS, hour))
    shutil.rmtree(healer.place.source.recording)
    done = healer.heal()
    assert done == [({SPECS, "features", ROWS}, hour, hour)]
    assert healer.heal() == []
    assert healer.status(ROWS, hour) == AssetCheckExecutionRecordStatus.FAILED
    monkeypatch.setattr("podpower_assets.damage.time.time", lambda: now_s + 3700)
    assert len(healer.tick()) == 1
    monkeypatch.setattr("podpower_assets.damage.time.time", lambda: now_s + 2 * 3700)
    assert healer.tick() == []
    assert healer.window()["missing_hours"] == [f"{ROWS} {hour}"]


def test_many_lost_hours_are_made_by_few_runs(healer: Healer) -> None:
    for hour in healer.hours:
        healer.path(ROWS, hour).unlink()
        healer.path("features", hour).unlink()
    assert healer.heal() == [({"features", ROWS}, healer.hours[0], healer.hours[-1])]
    assert healer.place.tables.partitions(ROWS) == healer.hours


def test_a_table_that_is_put_back_by_hand_passes_again(healer: Healer) -> None:
    path, hour = healer.path(ROWS, healer.hours[0]), healer.hours[0]
    whole = path.read_bytes()
    path.unlink()
    healer.tick()
    path.write_bytes(whole)
    assert healer.tick() == []
    assert healer.status(ROWS, hour) == AssetCheckExecutionRecordStatus.SUCCEEDED


def test_a_damaged_verdict_sets_its_table_aside_too(healer: Healer) -> None:
    hour = healer.hours[0]
    truncate(healer.path(ROWS, hour).with_suffix(".verdict.json"))
    assert healer.heal() == []
    assert healer.heal() == [({ROWS}, hour, hour)]
    assert len(list((healer.path(ROWS, hour).parent / "damaged").iterdir())) == 2


def test_labels_are_not_made_without_specs_that_are_lost(healer: Healer) -> None:
    hour = healer.hours[0]
    healer.path(SPECS, hour).unlink()
    result = healer.place.materialize("kepler_labels", first=hour)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "workload_specs was damaged or is lost" in str(failure.step_failure_data.error)


def test_tables_at_a_url_are_set_aside_and_seen(s3_url: str) -> None:
    tables, hour = Tables(root=f"{s3_url}/podpower/tables"), "2026-01-01-09:00"
    tables.write(ROWS, hour, pl.DataFrame({"watts": [1.0, 2.0]}))
    before = tables.stamps(ROWS)
    path = tables.path(ROWS, hour)
    path.write_bytes(path.read_bytes()[:-5])
    assert set(before) == {hour}
    assert tables.stamps(ROWS) != before
    assert tables.scan_if_whole(ROWS, hour) is None
    assert tables.partitions(ROWS) == []
    assert tables.stamps(ROWS) == {}
    assert list(tables.damaged(ROWS)) == [hour]


class TestTheEncoder:
    """Ticks of `damaged_encoder` on a home with a model, and on one without."""

    def tick(self, healer: Healer) -> list[dg.RunRequest]:
        place = healer.place
        context = dg.build_sensor_context(
            instance=place.instance,
            resources={"tables": place.tables, "models": place.models},
            repository_def=DEFS.get_repository_def(),
        )
        return list(damaged_encoder.evaluate_tick(context).run_requests or [])

    def passed(self, healer: Healer) -> tuple[bool, str]:
        key = dg.AssetCheckKey(dg.AssetKey("encoder"), ENCODER_IS_WHOLE)
        record = healer.place.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert record.evaluation is not None
        return record.evaluation.passed, record.evaluation.description or ""

    @pytest.mark.parametrize("harm", [flip, truncate, Path.unlink])
    def test_a_damaged_one_is_put_back_from_a_model_version_and_reported(self, healer: Healer, harm) -> None:
        place, path = healer.place, Path(healer.place.tables.root) / "encoder" / "encoder.joblib"
        encoder = place.tables.require_encoder()
        model = train(pl.concat([t for h in healer.hours if (t := place.tables.read(ROWS, h)) is not None]))
        version = place.models.open().add(encoder, model)
        assert self.tick(healer) == []
        assert self.passed(healer)[0]
        harm(path)
        assert self.tick(healer) == []
        failed, why = self.passed(healer)
        assert not failed
        assert f"restored from model version {version}" in why
        assert place.tables.require_encoder().fingerprint == encoder.fingerprint
        kept = list((path.parent / "damaged").glob("*"))
        assert len(kept) == (0 if harm is Path.unlink else 1)
        assert self.tick(healer) == []
        assert self.passed(healer)[0]

    def test_one_of_a_former_podpower_is_fitted_again(self, healer: Healer, monkeypatch) -> None:
        """After an upgrade from a version with another encoder schema, the encoder and those of all models were
        refused, and each hour failed until a person materialized `encoder`.
        """
        place = healer.place
        model = train(pl.concat([t for h in healer.hours if (t := place.tables.read(ROWS, h)) is not None]))
        store = place.models.open()
        store.promote(store.add(place.tables.require_encoder(), model))
        assert store.last_loadable()
        monkeypatch.setattr("podpower.features.encoder.SCHEMA_VERSION", 1_000)
        assert store.last_loadable() is None  # candidates are compared with none, and not failed
        assert len(self.tick(healer)) == 1
        assert not self.passed(healer)[0]
        monkeypatch.undo()

    def test_one_that_no_model_has_is_fitted_again(self, healer: Healer) -> None:
        path = Path(healer.place.tables.root) / "encoder" / "encoder.joblib"
        before = healer.place.tables.require_encoder().fingerprint
        truncate(path)
        assert len(self.tick(healer)) == 1
        assert not self.passed(healer)[0]
        assert healer.place.materialize("encoder", first=healer.hours[0]).success
        assert healer.place.tables.require_encoder().fingerprint == before
        assert self.passed(healer)[0]
