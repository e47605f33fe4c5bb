"""A flipped bit in any file of a store is an error that names the file; nothing of it is served."""

import random

import pytest

from podpower.errors import PodpowerError, Refused
from podpower.io.sealed_json import Format
from podpower.registry.store import ModelStore
from podpower.registry.versions import MANIFEST, VersionInfo
from tests.podpower.registry.test_quarantine import spec

FLIPS = 200
NEWER = Format(name="manifest", type=VersionInfo, version=MANIFEST.version + 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory, pair):
    """A store with a file of each kind."""
    store = ModelStore(tmp_path_factory.mktemp("flipped") / "models")
    store.promote(store.add(*pair, report=b"<!doctype html><p>good</p>"))
    store.quarantine.record([spec()], accepted=[spec("db")], through_s=1.0)
    return store.root


def files_of(place):
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def test_a_store_has_a_file_of_each_kind(place):
    kinds = [name.rpartition("/")[2] if "versions" in name else name.partition("/")[0] for name in files_of(place)]
    assert kinds == [
        "latest.json",
        "promotions",
        "quarantine",
        "encoder.joblib",
        "knn_energy.joblib",
        "manifest.json",
        "report.html",
    ]


@pytest.mark.parametrize("kind", ["latest", "promotions", "quarantine", "encoder", "knn_energy", "manifest", "report"])
def test_a_flipped_bit_is_an_error_with_the_name_of_the_file(place, kind):
    [name] = [name for name in files_of(place) if kind in name]
    path, store = place / name, ModelStore(place)
    intact, version = path.read_bytes(), store.served()
    draw = random.Random(14)
    try:
        for _ in range(FLIPS):
            at = draw.randrange(len(intact) * 8)
            changed = bytearray(intact)
            changed[at // 8] ^= 1 << at % 8
            path.write_bytes(changed)
            [(found, reason)] = store.damaged(contents=True).items()
            assert name.rpartition("/")[2].removesuffix(".json") in reason, (at, reason)
            assert found in {version, name, kind, "latest.json"}
            if kind in {"encoder", "knn_energy", "manifest"}:
                with pytest.raises(Refused):
                    store.load(version)
            elif kind == "report":
                with pytest.raises(Refused, match="digest"):
                    store.report(version)
                store.load(version)  # is served without it
            elif kind == "latest":
                with pytest.raises(Refused, match=r"latest\.json"):
                    store.served()
    finally:
        path.write_bytes(intact)
    assert store.damaged(contents=True) == {}


def test_a_damaged_change_behind_the_pointer_is_an_error(place, tmp_path, pair):
    """`latest.json` is of the change before: its writer was killed."""
    store = ModelStore(tmp_path / "models")
    version = store.add(*pair)
    store.promote(version)
    pointer = (store.root / "latest.json").read_bytes()
    store.pin()
    (store.root / "latest.json").write_bytes(pointer)
    assert store.pinned()
    last = max((store.root / "promotions").iterdir(), key=lambda path: path.name)
    last.write_bytes(last.read_bytes().replace(b"pin", b"nip"))
    with pytest.raises(PodpowerError, match=last.name):
        store.served()
    store.promote(version)
    assert store.served() == version


def test_a_store_of_an_earlier_version_is_read_marked_and_continued(tmp_path, pair):
    """Files as podpower wrote them before they had digests and numbers."""
    store = ModelStore(tmp_path / "models")
    version = store.add(*pair)
    folder = store.root / "versions" / version
    manifest = (folder / "manifest.json").read_text()
    body, _, _ = manifest.partition(',\n  "sha256": "' + manifest.rpartition('"sha256": "')[2])
    lines = [line for line in body.splitlines() if "format" not in line]
    (folder / "manifest.json").write_text("\n".join(lines) + "\n}")
    (store.root / "promotions").mkdir()
    change = f'{{"at":"2026-01-01T00:00:00.000+00:00","action":"resume","version":"{version}","held":false}}'
    (store.root / "promotions" / "01767225600000000000-0a1b2c3d.json").write_text(change)
    pointer = f'{{"version":"{version}","promoted_at":"2026-01-01T00:00:00.000+00:00","held":false}}'
    (store.root / "latest.json").write_text(pointer)
    assert store.unverified() == [version]
    assert store.served() == version
    assert [entry.action for entry in store.history()] == ["unpin"]
    assert store.damaged(contents=True) == {}
    store.pin()
    assert [entry.action for entry in store.history()] == ["unpin", "pin"]
    assert store.pinned()


def test_a_store_of_a_newer_version_is_refused_with_the_way_to_read_it(tmp_path, pair, monkeypatch):
    store = ModelStore(tmp_path / "models")
    monkeypatch.setattr("podpower.registry.versions.MANIFEST", NEWER)
    version = store.add(*pair)
    monkeypatch.undo()
    with pytest.raises(Refused, match="upgrade this one"):
        store.load(version)
