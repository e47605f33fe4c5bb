import json
import re
import shutil
from datetime import UTC, datetime, time, timedelta
from importlib.util import find_spec

import polars as pl
import pytest
from upath import UPath

from podpower.cli import main
from podpower.registry.artifacts import load_encoder, load_model
from podpower.registry.quarantine import Quarantined
from podpower.registry.store import ModelStore
from podpower.training.train import train


@pytest.fixture
def store(workflow, tmp_path, monkeypatch):
    """A store with two versions, the first one promoted."""
    store = ModelStore(tmp_path / "models")
    encoder, model = load_encoder(workflow / "encoder.joblib"), load_model(workflow / "knn_energy.joblib")
    first = store.add(encoder, model)
    model.trained_at = "2030-01-01T00:00:00+00:00"
    second = store.add(encoder, model)
    store.promote(first)
    monkeypatch.setenv("PODPOWER_MODEL_STORE", str(tmp_path / "models"))
    return store, first, second


def test_list_marks_what_is_served(store, capsys):
    _, first, second = store
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[3:]
    assert [line.split()[0] for line in lines] == [second, "*"]
    assert first in lines[1]


def test_list_shows_what_is_damaged(store, capsys):
    models, first, second = store
    (models.root / "versions" / first / "manifest.json").unlink()
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr()
    assert second in shown.out
    assert f"warning: no version {first}" in shown.err
    (models.root / "latest.json").write_text("{")
    assert main(["models", "list"]) == 0
    assert "promote a version again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["encoder.joblib", "knn_energy.joblib"])
def test_a_file_that_is_gone_is_seen_and_one_that_changed_is_found(store, name, capsys):
    models, first, second = store
    file = models.root / "versions" / first / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x80
    file.write_bytes(bytes(content))
    assert main(["models", "list"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["models", "list", "--verify"]) == 1
    assert f"{name} of version {first} does not match its digest" in capsys.readouterr().err
    file.unlink()
    assert main(["models", "list"]) == 0
    warning = capsys.readouterr().err
    assert f"warning: {name} of version {first} is missing" in warning
    assert "the one to be served" in warning
    assert second not in warning


@pytest.mark.parametrize("place", ["latest.json", "versions/{first}/manifest.json", "promotions/{change}"])
def test_a_flipped_bit_is_damage_and_no_defect(store, place, capsys):
    """Bytes that are no text at all."""
    models, first, second = store
    [change] = [path.name for path in (models.root / "promotions").iterdir()]
    file = models.root / place.format(first=first, change=change)
    content = bytearray(file.read_bytes())
    content[10] ^= 0x80
    file.write_bytes(bytes(content))
    for command in (["list"], ["history"], ["prune"], ["rollback"], ["promote", second]):
        main(["models", *command])
        assert "unexpected" not in capsys.readouterr().err
    assert models.served() == second


def test_a_version_that_may_not_be_read_does_not_hide_the_others(store, monkeypatch, capsys):
    models, first, second = store
    opened = UPath.open

    def forbidden(self, *args, **kwargs):
        if first in str(self):
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(type(models.root), "open", forbidden)
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr()
    assert second in shown.out
    assert "Permission denied" in shown.err


def test_trained_files_become_a_version(store, workflow, tmp_path, capsys):
    files = ["--encoder", str(workflow / "encoder.joblib"), "--model", str(workflow / "knn_energy.joblib")]
    assert main(["models", "add", *files, "--store", str(tmp_path / "new")]) == 0
    version = capsys.readouterr().out.strip()
    assert main(["models", "promote", version, "--store", str(tmp_path / "new")]) == 0
    assert ModelStore(tmp_path / "new").served() == version
    swapped = ["--encoder", str(workflow / "knn_energy.joblib"), "--model", str(workflow / "encoder.joblib")]
    assert main(["models", "add", *swapped, "--store", str(tmp_path / "new")]) == 1
    assert "swapped" in capsys.readouterr().err


def test_list_as_json(store, capsys):
    _, first, second = store
    assert main(["models", "list", "--json"]) == 0
    assert {row["version"]: row["served"] for row in json.loads(capsys.readouterr().out)} == {
        first: True,
        second: False,
    }


@pytest.mark.parametrize(("option", "command"), [("--pin", "unpin"), ("--hold", "resume")], ids=["new", "old names"])
def test_what_was_served_when(store, option, command, capsys):
    _, first, second = store
    for arguments in (["promote", second, option], [command], ["pin"], ["rollback"]):
        assert main(["models", *arguments]) == 0
    assert "is pinned" in capsys.readouterr().err
    assert main(["models", "history"]) == 0
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:]]
    actions = [["promote", first], ["promote", second], ["unpin", second], ["pin", second], ["rollback", first]]
    assert rows == actions
    assert main(["models", "list"]) == 0
    assert f"{first} is pinned" in capsys.readouterr().err


def test_what_was_served_on_each_day(tmp_path, workflow, capsys):
    now = datetime.now(UTC)
    encoder, model = load_encoder(workflow / "encoder.joblib"), load_model(workflow / "knn_energy.joblib")
    ModelStore(tmp_path).add(encoder, model)
    [info] = ModelStore(tmp_path).versions()
    yesterday = datetime.combine((now - timedelta(days=1)).date(), time(9, 30), UTC)
    ModelStore(tmp_path, clock=lambda: yesterday).promote(info.version)
    assert main(["models", "history", "--by-day", "--store", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows[0] == [f"{yesterday:%Y-%m-%d}", "09:30", "24:00", info.version]
    assert rows[1][:2] == [f"{yesterday + timedelta(days=1):%Y-%m-%d}", "00:00"]


def test_list_shows_the_outcome_of_the_gate(store, workflow, capsys):
    models, *_ = store
    encoder, model = models.load(models.served())
    for year, failed in (("2031", []), ("2032", ["labels_are_plausible"])):
        model.trained_at = f"{year}-01-01T00:00:00+00:00"
        models.add(encoder, model, metadata={"failed_checks": failed})
    assert main(["models", "list"]) == 0
    worst, good, *_ = capsys.readouterr().out.splitlines()[3:]
    assert worst.split()[-2:] == ["failed", "labels_are_plausible"]
    assert good.split()[-1] == "passed"


def test_list_and_train_show_the_same_figures_under_the_same_names(workflow, tmp_path, capsys):
    arguments = ["train", "--train", str(workflow / "train_rows.parquet"), "--out", str(tmp_path / "model.joblib")]
    assert main(arguments) == 0
    head, _, own = [line for line in capsys.readouterr().out.splitlines() if line.strip()][2:5]
    trained = dict(zip(re.split(r" {2,}", head.strip()), re.split(r" {2,}", own.strip()), strict=True))
    files = ["--encoder", str(workflow / "encoder.joblib"), "--model", str(tmp_path / "model.joblib")]
    assert main(["models", "add", *files, "--store", str(tmp_path / "models")]) == 0
    capsys.readouterr()
    assert main(["models", "list", "--store", str(tmp_path / "models")]) == 0
    _, head, _, row = capsys.readouterr().out.splitlines()
    listed = dict(zip(re.split(r" {2,}", head.strip()), re.split(r" {2,}", row.strip()), strict=True))
    shared = set(listed) & set(trained)
    assert shared == {"WAPE", "log R2", "sum", "in 80%"}
    assert {name: listed[name] for name in shared} == {name: trained[name] for name in shared}


def test_a_workload_in_quarantine_is_listed_and_released_by_name(store, capsys):
    models, *_ = store
    spec = Quarantined(
        cluster="c", namespace="shop", workload_kind="Deployment", workload_name="web", spec_hash="a" * 64,
        since_s=0.0, last_s=3600.0, hours=2, low_w=2.0, high_w=3.0, least_w=4900.0, most_w=5000.0,
    )  # fmt: skip
    assert main(["models", "quarantine", "list"]) == 0
    assert "no spec is in quarantine" in capsys.readouterr().err
    models.quarantine.record([spec], accepted=[], through_s=3600.0)
    assert main(["models", "quarantine", "list"]) == 0
    assert "shop/Deployment/web" in capsys.readouterr().out
    assert main(["models", "quarantine", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["specs"][0]["most_w"] == 5000.0
    assert main(["models", "quarantine", "release", "shop/Deployment/other"]) == 1
    assert "no spec of shop/Deployment/other is in quarantine" in capsys.readouterr().err
    assert main(["models", "quarantine", "release"]) == 2
    capsys.readouterr()
    assert main(["models", "quarantine", "release", "shop/Deployment/web"]) == 0
    assert capsys.readouterr().out == "shop/Deployment/web\n"
    state = models.quarantine.read()
    assert (state.count, state.specs) == (0, [])
    assert (state.released[0].low_w, state.released[0].high_w) == (2.0, 5000.0)


def test_a_model_is_no_worse_than_itself(store, workflow, capsys):
    _, first, second = store
    assert main(["models", "compare", second, "--train", str(workflow / "train_rows.parquet")]) == 0
    known, unknown, labels, quarantine = capsys.readouterr().out.splitlines()
    assert known.startswith("known workloads: no worse")
    assert unknown.startswith("unknown workloads: no worse")
    assert labels.startswith("0 of ")
    assert quarantine == "no spec is in quarantine"
    arguments = ["compare", first, "--against", second, "--train", str(workflow / "train_rows.parquet")]
    assert main(["models", *arguments]) == 0


def test_a_worse_model_gives_exit_code_1(store, workflow, capsys):
    models, first, _ = store
    encoder, _ = models.load(first)
    rows = pl.read_parquet(workflow / "train_rows.parquet")
    tenfold = rows.with_columns(pl.col("avg_power_w", "energy_step_j") * 10)
    worse = models.add(encoder, train(tenfold))
    assert main(["models", "compare", worse, "--train", str(workflow / "train_rows.parquet")]) == 1
    assert "known workloads: worse" in capsys.readouterr().out


def test_rows_of_another_encoder_are_refused(store, workflow, tmp_path, capsys):
    _, _, second = store
    rows = pl.read_parquet(workflow / "train_rows.parquet").with_columns(encoder_fingerprint=pl.lit("e" * 64))
    rows.write_parquet(tmp_path / "rows.parquet")
    assert main(["models", "compare", second, "--train", str(tmp_path / "rows.parquet")]) == 1
    assert "another encoder" in capsys.readouterr().err


def test_nothing_served_is_nothing_to_compare_with(store, workflow, capsys):
    models, first, _ = store
    shutil.rmtree(models.root / "promotions")
    (models.root / "latest.json").unlink()
    assert main(["models", "compare", first, "--train", str(workflow / "train_rows.parquet")]) == 1
    assert "give --against" in capsys.readouterr().err


def test_promote_and_roll_back(store, capsys):
    models, first, second = store
    assert main(["models", "promote", second]) == 0
    assert models.served() == second
    assert main(["models", "rollback"]) == 0
    assert models.served() == first
    assert capsys.readouterr().out.splitlines() == [second, first]


def test_show_prints_json_of_the_served_or_a_given_version(store, capsys):
    _, first, second = store
    assert main(["models", "show"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == first
    assert main(["models", "show", second]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == second


def test_prune_prints_what_it_removes(store, capsys):
    models, first, second = store
    assert main(["models", "prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out == ""
    models.promote(second)
    assert main(["models", "prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out == ""  # first may be rolled back to
    assert {info.version for info in models.versions()} == {first, second}
    assert main(["models", "prune", "--keep", "0"]) == 1


@pytest.mark.parametrize(
    "arguments", [["show", "../../etc"], ["promote", "20260101T000000Z-0a1b2c3d4e5f"], ["rollback"]]
)
def test_what_is_not_there_is_refused_in_one_line(arguments, store, capsys):
    models, first, _ = store
    assert main(["models", *arguments]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert models.served() == first


def test_an_empty_store_is_shown_as_empty(tmp_path, capsys):
    assert main(["models", "list", "--store", str(tmp_path / "none")]) == 0
    assert "no version" in capsys.readouterr().err
    for command in ("show", "resume", "pin"):
        assert main(["models", command, "--store", str(tmp_path / "none")]) == 1
        assert "nothing is promoted" in capsys.readouterr().err
    assert main(["models", "rollback", "--store", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_store(workflow, capsys):
    assert main(["models", "list", "--store", str(workflow / "encoder.joblib")]) == 1
    assert "is a file, and a model store is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param(
            "gs://bucket/models",
            "pip install '.[gs]'",
            marks=pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs is installed"),
        ),
        ("foo://bucket/models", "give a path, s3://, gs:// or az://"),
        ("s3:/bucket/models", "write s3://"),
    ],
)
def test_a_store_that_cannot_be_reached_is_an_error_with_a_remedy(url, message, capsys):
    assert main(["models", "list", "--store", url]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
