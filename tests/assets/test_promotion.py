"""A day's model replaces the served one only if it is not worse; what happened is said where people look."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from podpower.evaluation import checks
from podpower.features.encoder import Encoder
from podpower.simulation import simulate
from podpower.specs.table import requests_of
from podpower_assets.partitions import hours_between
from podpower_assets.resources import Models
from tests.assets.conftest import HOURLY, Place

START_S = 1767258000.0  # 2026-01-01T09:00:00Z
FIRST, SECOND = (hours_between(START_S + h * 3600, START_S + (h + 3) * 3600) for h in (0, 3))
DAY = "2026-01-01"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("six-hours") / "recording"
    simulate(root, seed=5, start_s=START_S, hours=6, workloads=24)
    return root


@pytest.fixture
def served(recorded: Path, tmp_path: Path) -> Iterator[Place]:
    """Three hours are learned and served; three more are labelled."""
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, recorded, tmp_path)
        assert place.materialize(*HOURLY, first=FIRST[0], last=SECOND[-1]).success
        later = {hour: place.tables.read("training_rows", hour) for hour in SECOND}
        for hour in SECOND:
            place.tables.path("training_rows", hour).unlink()
        assert place.materialize("knn_model", "promoted_model", first=DAY).success
        for hour, rows in later.items():
            assert rows is not None
            place.tables.write("training_rows", hour, rows)
        yield place


def change(place: Place, hours: list[str], labels: object) -> None:
    for hour in hours:
        rows = place.tables.read("training_rows", hour)
        assert rows is not None
        place.tables.write("training_rows", hour, labels(rows))  # type: ignore[operator]


def times(rows: pl.DataFrame, factor: object) -> pl.DataFrame:
    return rows.with_columns(pl.col("avg_power_w", "energy_step_j") * factor)


def shuffled(rows: pl.DataFrame) -> pl.DataFrame:
    order = np.random.default_rng(0).permutation(len(rows))
    return rows.with_columns(rows[column][order].alias(column) for column in ("avg_power_w", "energy_step_j"))


def failed(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {e.check_name: e.description or "" for e in result.get_asset_check_evaluations() if not e.passed}


def test_a_model_of_more_labels_is_promoted(served: Place) -> None:
    store = served.models.open()
    before = store.served()
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert result.success
    assert failed(result) == {}
    now = store.served()
    assert now != before
    assert now is not None
    manifest = store.info(now).metadata
    assert manifest["judged_against"] == before
    assert any("known workloads" in line for line in manifest["judgement"])
    assert manifest["evaluation"]["unseen workloads"]["podpower"]["count"] > 0


@pytest.mark.parametrize(
    "spoil",
    [shuffled, lambda rows: times(rows, 0.0), lambda rows: times(rows, 1000.0)],
    ids=["shuffled", "zeros", "a thousand times"],
)
def test_labels_that_cannot_be_right_leave_the_served_model(served: Place, spoil: object) -> None:
    store = served.models.open()
    before = store.served()
    change(served, SECOND, spoil)
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert result.success  # a rejection is an outcome, and no failure
    assert checks.PLAUSIBLE in failed(result)
    warned = [e.severity for e in result.get_asset_check_evaluations() if not e.passed]
    assert set(warned) == {dg.AssetCheckSeverity.WARN}
    [event] = result.asset_materializations_for_node("promoted_model")
    assert (event.metadata["promoted"].value, event.metadata["serving"].value) == (False, before)
    assert checks.PLAUSIBLE in str(event.metadata["why"].value)
    assert "promote by hand" in failed(result)[checks.PLAUSIBLE]
    assert store.served() == before
    [candidate] = [v for v in store.versions() if v.version != before]
    assert checks.PLAUSIBLE in candidate.metadata["failed_checks"]
    store.promote(candidate.version)  # a person may know better
    assert store.served() == candidate.version


@pytest.mark.parametrize("factor", [10.0, 0.0])
def test_labels_that_are_made_anew_and_wrong_are_doubted(served: Place, factor: float) -> None:
    """No label is younger than the served model's: it knows better all the same."""
    store = served.models.open()
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    before = store.served()
    change(served, SECOND, lambda rows: times(rows, factor))
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert checks.PLAUSIBLE in failed(result)
    assert "times what was measured before" in failed(result)[checks.PLAUSIBLE]
    assert store.served() == before


def of(names: list[str], factor: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: times(rows, pl.when(pl.col("workload_name").is_in(names)).then(factor).otherwise(1.0))


def seen_by(place: Place) -> list[str]:
    """Names of the workloads that the served model and the later labels share."""
    store = place.models.open()
    known = store.load(str(store.served()))[1].index.workloads
    rows = place.tables.read("training_rows", SECOND[-1])
    assert rows is not None
    later = set(rows.filter(pl.col("avg_power_w") > 0.2)["workload_name"])
    return sorted({name for _, _, name in known} & later)


def test_two_fifths_of_all_workloads_at_a_hundred_times_their_power_are_refused(served: Place) -> None:
    store = served.models.open()
    before = store.served()
    names = sorted({name for _, _, name in store.load(str(before))[1].index.workloads})
    change(served, SECOND, of(names[: -(-2 * len(names) // 5)], 100.0))
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert checks.PLAUSIBLE in failed(result)
    assert store.served() == before


def test_one_workload_at_five_kilowatts_is_left_out_by_name(served: Place) -> None:
    store = served.models.open()
    before = str(store.served())
    name = seen_by(served)[0]
    watts = pl.when(pl.col("workload_name") == name).then(5000.0).otherwise("avg_power_w")
    change(
        served, SECOND, lambda rows: rows.with_columns(watts.alias("avg_power_w"), (watts * 60).alias("energy_step_j"))
    )
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert failed(result) == {}
    now = str(store.served())
    assert now != before
    [plausible] = [e for e in result.get_asset_check_evaluations() if e.check_name == checks.PLAUSIBLE]
    assert f"/{name} (5e+03 W, known" in str(plausible.description)
    assert plausible.metadata["quarantined"].value >= 1
    in_quarantine = {spec.workload_name for spec in store.quarantine.read().specs}
    assert name in in_quarantine
    assert any(workload.endswith(f"/{name}") for workload in store.info(now).metadata["quarantined"])
    assert any(name in note for note in store.load(now)[1].notes)
    assert most_watts(served, now, name) == pytest.approx(most_watts(served, before, name), rel=0.5)

    store.quarantine.release(None)
    served.materialize("knn_model", first=DAY)  # its labels are used now; the other checks decide as ever
    released = max(store.versions(), key=lambda info: info.created_at).version
    assert most_watts(served, released, name) > 500.0
    assert store.quarantine.read().specs == []


def most_watts(place: Place, version: str, name: str) -> float:
    index = place.models.open().load(version)[1].index
    return max(float(power) for power, own in zip(index.power_w, index.names, strict=True) if own == name)


def test_one_hour_that_is_wrong_is_not_averaged_away(served: Place) -> None:
    store = served.models.open()
    before = store.served()
    change(served, SECOND[-1:], lambda rows: times(rows, 0.0))
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert checks.PLAUSIBLE in failed(result)
    assert store.served() == before


def test_the_model_served_before_stands_for_a_damaged_one(served: Place) -> None:
    store = served.models.open()
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    damaged = str(store.served())
    (Path(str(store.root)) / "versions" / damaged / "manifest.json").write_bytes(b"")
    change(served, SECOND, lambda rows: times(rows, 10.0))
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert checks.PLAUSIBLE in failed(result)
    assert store.served() == damaged  # the service keeps what it has loaded; nothing worse takes its place
    change(served, SECOND, lambda rows: times(rows, 0.1))
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    now = str(store.served())
    assert now != damaged
    assert any(damaged in line and "is damaged" in line for line in store.info(now).metadata["judgement"])


def test_a_candidate_that_was_damaged_while_served_is_no_success(served: Place) -> None:
    store = served.models.open()
    folder = Path(str(store.root)) / "versions" / str(store.served())
    (folder / "knn_energy.joblib").write_bytes(b"cut off")
    result = served.materialize("promoted_model", first=DAY)
    assert not result.success


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{")])
def test_a_lost_pointer_loses_neither_the_hold_nor_the_day(served: Place, damage: Callable[[Path], None]) -> None:
    store = served.models.open()
    first = str(store.served())
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    store.rollback()
    damage(Path(str(store.root)) / "latest.json")
    result = served.materialize("promoted_model", first=DAY)
    [event] = result.asset_materializations_for_node("promoted_model")
    assert "is pinned" in str(event.metadata["why"].value)
    store.promote(first)
    encoder, model = store.load(first)
    model.trained_at = "2025-12-31T00:00:00+00:00"
    store.add(encoder, model, metadata={"partition": "2025-12-31"})
    damage(Path(str(store.root)) / "latest.json")
    result = served.materialize("promoted_model", first="2025-12-31")
    [event] = result.asset_materializations_for_node("promoted_model")
    assert "later day" in str(event.metadata["why"].value)


def test_labels_that_are_wrong_of_old_are_found_by_younger_ones(served: Place) -> None:
    """The window is spoilt before the last hour: a model of it is worse there than the served one."""
    store = served.models.open()
    before = store.served()
    change(served, [*FIRST, *SECOND[:-1]], shuffled)
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert {checks.NOT_WORSE, checks.PLAUSIBLE} & set(failed(result))
    assert store.served() == before


@pytest.fixture
def refitted(served: Place) -> Place:
    """The encoder is fitted anew on fewer specs, and what is labelled since is encoded by it."""
    specs = served.tables.read("workload_specs", SECOND[-1])
    assert specs is not None
    served.tables.save_encoder(Encoder.fit(requests_of(specs)[::2], text="none"))
    assert served.materialize("features", "training_rows", first=FIRST[0], last=SECOND[-1]).success
    return served


def test_a_candidate_of_another_encoder_is_compared_all_the_same(refitted: Place) -> None:
    """The served model predicts the held-out pods from its own vectors of their specs."""
    store = refitted.models.open()
    before = store.served()
    change(refitted, [*FIRST, *SECOND[:-1]], shuffled)
    result = refitted.materialize("knn_model", "promoted_model", first=DAY)
    assert result.success
    assert {checks.NOT_WORSE, checks.PLAUSIBLE} & set(failed(result))
    assert store.served() == before


def test_a_good_candidate_of_another_encoder_is_promoted(refitted: Place) -> None:
    store = refitted.models.open()
    before = store.served()
    result = refitted.materialize("knn_model", "promoted_model", first=DAY)
    assert result.success
    now = store.served()
    assert now not in {None, before}
    [known] = [line for line in store.info(str(now)).metadata["judgement"] if line.startswith("known workloads")]
    assert "nothing to compare" not in known


def test_a_candidate_whose_specs_are_gone_is_judged_by_itself(refitted: Place) -> None:
    store = refitted.models.open()
    before = store.served()
    for hour in (*FIRST, *SECOND):
        refitted.tables.path("workload_specs", hour).unlink()
    assert refitted.materialize("knn_model", "promoted_model", first=DAY).success
    now = str(store.served())
    assert now != before
    [line] = store.info(now).metadata["judgement"]
    assert "no spec of the held-out pods is stored" in line


def test_a_model_that_was_served_for_long_can_still_be_replaced(served: Place) -> None:
    """Only the youngest labels are held out, however many are younger than the served model's."""
    store = served.models.open()
    before = store.served()
    encoder, model = store.load(str(before))
    model.labels_end_s -= 30 * 24 * 3600.0
    model.trained_at = "2025-12-01T00:00:00+00:00"
    stale = store.add(encoder, model, metadata=store.info(str(before)).metadata)
    store.promote(stale)
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert failed(result) == {}
    assert store.served() not in {stale, before}
    [known] = [
        line for line in store.info(str(store.served())).metadata["judgement"] if "known workloads: " in line[:17]
    ]
    assert "nothing to compare" not in known


def test_old_candidates_are_removed(served: Place) -> None:
    store = served.models.open()
    first = store.served()
    for _ in range(2):
        encoder, model = store.load(str(first))
        model.trained_at = f"2020-01-0{_ + 1}T00:00:00+00:00"
        store.add(encoder, model, metadata={"partition": "2020-01-01"})
    served.models = Models(root=served.models.root, keep=2)
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    kept = {info.version for info in store.versions()}
    assert kept == {first, store.served()}


def test_what_was_promoted_meanwhile_is_not_replaced(served: Place) -> None:
    store = served.models.open()
    first = store.served()
    assert first is not None
    assert served.materialize("knn_model", first=DAY).success
    encoder, model = store.load(first)
    model.trained_at = "2026-02-01T00:00:00+00:00"
    other = store.add(encoder, model, metadata={"partition": "2025-12-31"})
    store.promote(other)
    result = served.materialize("promoted_model", first=DAY)
    assert not result.success
    assert store.served() == other


def test_what_was_rolled_back_does_not_come_back_by_itself(served: Place) -> None:
    store = served.models.open()
    first = store.served()
    assert served.materialize("knn_model", "promoted_model", first=DAY).success
    second = store.served()
    assert store.rollback() == first
    result = served.materialize("promoted_model", first=DAY)
    [event] = result.asset_materializations_for_node("promoted_model")
    assert "is pinned" in str(event.metadata["why"].value)
    assert store.served() == first
    assert served.materialize("knn_model", "promoted_model", first=DAY).success  # nor the next of the same labels
    assert store.served() == first
    assert store.unpin() == first
    assert served.materialize("promoted_model", first=DAY).success
    assert store.served() not in {first, second}


@pytest.mark.parametrize("what", ["the pointer", "the manifest", "the model", "the folder"])
def test_a_damaged_registry_heals(served: Place, what: str) -> None:
    store = served.models.open()
    before = store.served()
    folder = Path(str(store.root)) / "versions" / str(before)
    if what == "the folder":
        shutil.rmtree(folder)
    else:
        names = {"the pointer": "../../latest.json", "the manifest": "manifest.json", "the model": "knn_energy.joblib"}
        (folder / names[what]).write_bytes(b"{")
    result = served.materialize("knn_model", "promoted_model", first=DAY)
    assert result.success
    assert store.served() not in {None, before}
    store.load(str(store.served()))
