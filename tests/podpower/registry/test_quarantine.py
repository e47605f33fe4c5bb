"""The list of specs in quarantine outlives processes, and later labels outrank older ones."""

import msgspec
import pytest

from podpower.errors import Refused
from podpower.registry.quarantine import FILES_KEPT, Quarantined, QuarantineState, named
from podpower.registry.store import ModelStore


def spec(name="web", *, namespace="shop", **values):
    known = {
        "cluster": "c", "namespace": namespace, "workload_kind": "Deployment", "workload_name": name,
        "spec_hash": "a" * 64, "since_s": 0.0, "last_s": 3600.0, "hours": 1, "low_w": 2.0, "high_w": 3.0,
        "least_w": 4900.0, "most_w": 5000.0,
    }  # fmt: skip
    return Quarantined(**(known | values))


@pytest.fixture
def quarantine(tmp_path):
    return ModelStore(tmp_path / "models").quarantine


def test_a_new_store_has_none(quarantine):
    assert quarantine.read().specs == []
    with pytest.raises(Refused, match="nothing is in quarantine"):
        quarantine.release(None)


def test_training_on_an_older_day_leaves_the_list(quarantine):
    quarantine.record([spec()], accepted=[], through_s=7200.0)
    quarantine.record([], accepted=[], through_s=3600.0)
    assert [found.workload for found in quarantine.read().specs] == ["shop/Deployment/web"]
    quarantine.record([], accepted=[], through_s=10800.0)
    assert quarantine.read().specs == []


def test_what_stayed_for_a_day_counts_as_known(quarantine):
    quarantine.record([spec("db")], accepted=[spec()], through_s=7200.0)
    [released] = quarantine.read().released
    assert (released.workload, released.low_w, released.high_w) == ("shop/Deployment/web", 2.0, 5000.0)


def test_a_name_is_enough_where_it_is_unique(quarantine):
    quarantine.record([spec(), spec("db"), spec("db", namespace="test")], accepted=[], through_s=1.0)
    assert [released.workload for released in quarantine.release("web")] == ["shop/Deployment/web"]
    with pytest.raises(Refused, match=r"several workloads: give one of shop/Deployment/db, test/Deployment/db"):
        quarantine.release("db")
    assert len(quarantine.release(None)) == 2


def test_a_damaged_file_has_a_remedy_and_stops_no_training(quarantine, tmp_path):
    quarantine.record([spec()], accepted=[], through_s=1.0)
    [file] = (tmp_path / "models" / "quarantine").iterdir()
    file.write_bytes(b"\xff{")
    with pytest.raises(Refused, match="remove it"):
        quarantine.read()
    assert quarantine.last().specs == []
    quarantine.record([spec()], accepted=[], through_s=1.0)
    assert len(quarantine.read().specs) == 1


def test_many_are_counted_and_the_first_are_named():
    text = named([spec(f"w{n}") for n in range(20)])
    assert text.count("shop/Deployment/") == 5
    assert text.endswith("15 more")
    assert "5e+03 W, known 2 to 3 W" in text
    assert msgspec.json.decode(msgspec.json.encode(spec()), type=Quarantined) == spec()


def test_a_file_of_an_earlier_version_is_read_and_continued(quarantine, tmp_path):
    (tmp_path / "models").mkdir()
    state = QuarantineState(through_s=3600.0, count=1, specs=[spec()])
    (tmp_path / "models" / "quarantine.json").write_bytes(msgspec.json.encode(state))
    assert [found.workload for found in quarantine.read().specs] == ["shop/Deployment/web"]
    quarantine.release("web")
    assert quarantine.read().specs == []
    assert [found.workload for found in quarantine.read().released] == ["shop/Deployment/web"]


def test_only_the_last_files_are_kept(quarantine, tmp_path):
    for number in range(FILES_KEPT + 3):
        quarantine.record([spec(f"w{number}")], accepted=[], through_s=float(number))
    files = sorted(path.name for path in (tmp_path / "models" / "quarantine").iterdir())
    assert (len(files), files[-1]) == (FILES_KEPT, f"{FILES_KEPT + 3:020d}.json")
