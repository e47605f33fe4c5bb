import json

import polars as pl
import pytest

from podpower.cli import main
from podpower.learning.training import train
from podpower.model.artifacts import load_encoder, load_model
from podpower.model.store import ModelStore


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
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [second, "*"]
    assert first in lines[1]


def test_list_tells_what_is_damaged(store, capsys):
    models, first, second = store
    (models.root / "versions" / first / "manifest.json").unlink()
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr()
    assert second in shown.out
    assert f"warning: no version {first}" in shown.err
    (models.root / "latest.json").write_text("{")
    assert main(["models", "list"]) == 0
    assert "promote a version again" in capsys.readouterr().err


def test_list_tells_how_each_was_judged(store, workflow, capsys):
    models, *_ = store
    encoder, model = models.load(models.latest())
    for year, failed in (("2031", []), ("2032", ["labels_are_plausible"])):
        model.trained_at = f"{year}-01-01T00:00:00+00:00"
        models.add(encoder, model, metadata={"failed_checks": failed})
    assert main(["models", "list"]) == 0
    worst, good, *_ = capsys.readouterr().out.splitlines()[2:]
    assert worst.split()[-2:] == ["failed", "labels_are_plausible"]
    assert good.split()[-1] == "good"


def test_a_model_is_no_worse_than_itself(store, workflow, capsys):
    _, first, second = store
    assert main(["models", "compare", second, "--train", str(workflow / "train_rows.parquet")]) == 0
    known, unknown, labels = capsys.readouterr().out.splitlines()
    assert known.startswith("known workloads: no worse")
    assert unknown.startswith("unknown workloads: no worse")
    assert labels.startswith("0 of ")
    arguments = ["compare", first, "--against", second, "--train", str(workflow / "train_rows.parquet")]
    assert main(["models", *arguments]) == 0


def test_a_worse_model_is_told_by_the_exit_code(store, workflow, capsys):
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
    (models.root / "latest.json").unlink()
    assert main(["models", "compare", first, "--train", str(workflow / "train_rows.parquet")]) == 1
    assert "give --against" in capsys.readouterr().err


def test_promote_and_roll_back(store, capsys):
    models, first, second = store
    assert main(["models", "promote", second]) == 0
    assert models.latest() == second
    assert main(["models", "rollback"]) == 0
    assert models.latest() == first
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
    assert models.latest() == first


def test_an_empty_store_says_so(tmp_path, capsys):
    assert main(["models", "list", "--store", str(tmp_path / "none")]) == 0
    assert "no version" in capsys.readouterr().err
    assert main(["models", "show", "--store", str(tmp_path / "none")]) == 1
    assert "nothing is promoted" in capsys.readouterr().err
