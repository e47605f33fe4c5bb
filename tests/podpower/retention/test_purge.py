"""A purge removes a namespace from every store of a home and nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from podpower.cli import main
from podpower.cli.homes import UP_LOCK
from podpower.evaluation.pages import page_of_day, read_page, sealed_page
from podpower.features.encoder import Encoder
from podpower.fleet.summary import FLEET_FILE
from podpower.io.files import write_atomically
from podpower.io.locks import lock
from podpower.io.parquet import write_parquet
from podpower.model.knn import KnnModel
from podpower.registry.quarantine import Quarantined
from podpower.registry.store import ModelStore
from podpower.retention.scope import Scope
from podpower.sources.journal.format import META, Header, JournalMeta, encode_part, event_line, flush_name, sealed

PURGED, DAY = "ml", "2026-01-01"


@pytest.fixture(scope="module")
def full(make_pair: Callable[..., tuple[Encoder, KnnModel]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with tables of two clusters, a served version, one before it, pages and specs in quarantine."""
    home = tmp_path_factory.mktemp("full")
    for cluster, folder in (("c", "tables"), ("eu-2", "tables/eu-2")):
        for asset in ("workload_specs", "features", "kepler_labels", "job_labels", "training_rows"):
            for hour in ("2026-01-01-0000", "2026-01-01-0100"):
                names = [PURGED, "shop", PURGED, None, "shop-2"]
                table = pl.DataFrame({"cluster": cluster, "namespace": names, "avg_power_w": 1.5})
                write_parquet(table, home / folder / asset / f"{hour}.parquet")
    store = ModelStore(home / "models")
    first, second = (
        store.add(encoder, of_namespaces(model), metadata={"quarantined": [f"{PURGED}/Job/w"], "partition": DAY})
        for encoder, model in (make_pair(1.0), make_pair(2.0))
    )
    store.promote(first)
    store.promote(second)
    for namespaces in ((PURGED, "other"), (PURGED,), ("other",)):  # files of former states stay beside the last one
        store.quarantine.record([quarantined(name) for name in (*namespaces, "shop")], accepted=[], through_s=1.0)
    for day, name in ((DAY, PURGED), ("2026-01-02", "shop")):
        page = sealed_page(f"<!doctype html>\n<td>{name}/web-0</td>")
        write_atomically(home / "tables" / "model_evaluation" / f"{day}.html", page)
        write_atomically(page_of_day(home / "models", day), page)
    for name in (PURGED, "shop"):
        write_atomically(home / "tables" / "features" / f"{name}.verdict.json", f"no pod of {name}/web".encode())
    (home / "models" / FLEET_FILE).write_text(f'{{"namespaces":[{{"namespace":"{PURGED}"}}]}}')
    return home


def of_namespaces(model: KnnModel) -> KnnModel:
    """Return the model as if every third workload were of the namespace, and a note named one."""
    names = [PURGED if number % 3 == 0 else "shop" for number in range(len(model.index))]
    state = model.with_index(replace(model.index, namespaces=names), None).state()
    return KnnModel.from_state(state | {"notes": [f"not used: {PURGED}/Job/w", "kept"]})


def quarantined(namespace: str) -> Quarantined:
    return Quarantined(
        cluster="c", namespace=namespace, workload_kind="Job", workload_name="w", spec_hash="a" * 64, since_s=0.0,
        last_s=1.0, hours=1, low_w=1.0, high_w=2.0, least_w=30.0, most_w=40.0,
    )  # fmt: skip


@pytest.fixture
def home(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(full, tmp_path / "home")
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PODPOWER_RECORDING", raising=False)
    return tmp_path / "home"


def rows(home: Path) -> pl.DataFrame:
    """Rows of each table and namespace."""
    found = []
    for path in sorted((home / "tables").rglob("*.parquet")):
        counts = pl.read_parquet(path, columns=["namespace"]).group_by("namespace").len()
        found.append(counts.with_columns(table=pl.lit(str(path.relative_to(home)))))
    return pl.concat(found).sort("table", "namespace")


def test_a_served_version_that_only_its_report_names_is_replaced(
    home: Path, make_pair: Callable[..., tuple[Encoder, KnnModel]]
) -> None:
    store = ModelStore(home / "models")
    served = store.add(*make_pair(3.0), report=sealed_page(f"<td>{PURGED}/web-0</td>"))
    store.promote(served)
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    check_purged(home)
    [info] = store.versions()
    assert store.served() == info.version != served


def check_purged(home: Path) -> None:
    assert PURGED not in rows(home)["namespace"].to_list()
    store, scope = ModelStore(home / "models"), Scope(namespace=PURGED)
    for info in store.versions():
        _, model = store.load(info.version)
        assert PURGED not in model.index.namespaces
    for path in home.rglob("*"):
        if path.is_file() and path.suffix in {".json", ".html"}:
            text = path.read_text()
            assert not scope.is_named_in(text), path
            assert f'"{PURGED}"' not in text, path
    assert store.damaged(contents=True) == {}


def test_a_purge_removes_the_namespace_everywhere_and_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, store = rows(home), ModelStore(home / "models")
    served = str(store.served())
    assert PURGED in before["namespace"].to_list()
    store.pin()
    assert main(["purge", "--namespace", PURGED, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert rows(home).equals(before)
    assert store.served() == served

    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1:] == planned.splitlines()[1:]  # the title differs
    assert all(
        part in printed for part in ("training_rows", "workload_specs", served, "quarantine", f"{DAY}.html", FLEET_FILE)
    )
    check_purged(home)
    assert [path.name for path in home.rglob("*.verdict.json")] == ["shop.verdict.json"]
    assert rows(home).equals(before.filter((pl.col("namespace") != PURGED).fill_null(value=True)))
    [info] = store.versions()
    assert store.served() == info.version != served
    assert store.pinned()
    assert sorted(spec.namespace for spec in store.quarantine.read().specs) == ["other", "shop"]
    assert read_page(home / "tables" / "model_evaluation" / "2026-01-02.html")

    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    assert "no store has anything" in capsys.readouterr().err


def test_a_damaged_table_that_was_set_aside_is_removed_because_its_rows_cannot_be_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aside = home / "tables" / "features" / "damaged" / "2026-01-01-0000.0a1b2c3d.parquet"
    write_atomically(aside, b"PAR1 and no more")
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    assert aside.name in capsys.readouterr().out
    assert not aside.exists()


def test_the_served_model_predicts_the_others_as_before(home: Path) -> None:
    store = ModelStore(home / "models")
    _, before = store.load(str(store.served()))
    kept = np.array([namespace != PURGED for namespace in before.index.namespaces])
    queries = before.index.specs.take(kept)
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    _, after = store.load(str(store.served()))
    assert 0 < len(after.index) < len(before.index)
    assert set(after.predict(queries).basis) == set(before.predict(queries).basis) == {"seen"}


def test_a_purge_of_one_cluster_removes_nothing_of_another(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows(home)
    main(["purge", "--namespace", PURGED, "--cluster", "eu-2", "--yes"])
    elsewhere = pl.col("table").str.contains("eu-2")
    assert rows(home).equals(before.filter(~elsewhere | (pl.col("namespace") != PURGED).fill_null(value=True)))
    assert "eu-2/features" in capsys.readouterr().out


def write_journal(folder: Path, cluster: str) -> Path:
    """Write a journal with one pod of the namespace; return the file that has it."""
    pod = {"kind": "Pod", "metadata": {"namespace": PURGED, "name": "web-0", "uid": "u"}}
    header = Header(kind="flush", hour="2026-01-01T00", sequence=1, reached_s=0.0)
    write_atomically(folder / META, sealed(JournalMeta(journal_id="j", cluster=cluster, start_s=0.0)))
    write_atomically(folder / flush_name(1), encode_part(header, [event_line(0.0, "ADDED", pod)]))
    return folder / flush_name(1)


def test_the_journal_of_a_removed_cluster_is_purged(home: Path) -> None:
    """It stayed in the home with everything, and the purge did not name it."""
    flush = write_journal(home / "clusters" / "gone" / "journal", "gone")
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    assert b"web-0" not in flush.read_bytes()


def test_the_journal_of_a_renamed_cluster_is_purged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODPOWER_CLUSTER", "new")
    flush = write_journal(home / "journal", "old")
    main(["purge", "--namespace", PURGED, "--cluster", "new", "--yes"])
    assert b"web-0" not in flush.read_bytes()


KILLED = """
import os, sys
from podpower import settings
from podpower.retention.namespaces import purge_namespace
from podpower.retention.scope import Scope
for number, _ in enumerate(purge_namespace(settings.read(), Scope(namespace=sys.argv[1]), dry_run=False, problems=[])):
    if number == int(sys.argv[2]):
        os._exit(9)
"""


@pytest.mark.parametrize("after", [0, 9])
def test_a_killed_purge_is_finished_by_the_next_one(home: Path, after: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, PURGED, str(after)], env=os.environ, check=False, timeout=120)
    assert done.returncode == 9
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 0
    check_purged(home)


def test_a_damaged_table_is_named_and_the_others_are_purged(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = min((home / "tables" / "features").glob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert main(["purge", "--namespace", PURGED, "--yes"]) == 1
    assert f"{damaged} is damaged" in capsys.readouterr().err
    damaged.unlink()
    check_purged(home)


def test_nothing_is_removed_without_a_confirmation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows(home)
    assert main(["purge", "--namespace", PURGED]) == 2
    assert "--yes" in capsys.readouterr().err
    assert rows(home).equals(before)
    assert main(["purge", "--namespace", "../etc", "--yes"]) == 1
    assert "is not a namespace" in capsys.readouterr().err


def test_a_home_that_does_not_exist_is_an_error_and_no_all_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "mistyped"))
    assert main(["purge", "--namespace", "shop", "--dry-run"]) == 1
    assert f"error: there is no home at {tmp_path}/mistyped" in capsys.readouterr().err


def test_nothing_is_removed_while_the_platform_runs_on_the_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "dagster").mkdir()
    before = rows(home)
    with lock(home / "dagster" / UP_LOCK, busy="taken"):
        assert main(["purge", "--namespace", "shop", "--yes"]) == 1
    assert "stop it first" in capsys.readouterr().err
    assert rows(home).equals(before)
