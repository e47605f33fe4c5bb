import json
from importlib.util import find_spec

import polars as pl
import pytest
from upath import UPath

from podpower.cli import main
from podpower.registry.artifacts import load_encoder, load_model
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
    assert models.latest() == second


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
    assert ModelStore(tmp_path / "new").latest() == version
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


def test_what_was_served_when(store, capsys):
    _, first, second = store
    for command in (["promote", second, "--hold"], ["resume"], ["rollback"]):
        assert main(["models", *command]) == 0
    assert "is held" in capsys.readouterr().err
    assert main(["models", "history"]) == 0
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["promote", first], ["promote", second], ["resume", second], ["rollback", first]]
    assert main(["models", "list"]) == 0
    assert f"{first} is held" in capsys.readouterr().err


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
    for command in ("show", "resume"):
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
            "s3://bucket/models",
            "pip install 'podpower[s3]'",
            marks=pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed"),
        ),
        ("foo://bucket/models", "give a path, s3:// or gs://"),
    ],
)
def test_a_store_that_cannot_be_reached_says_what_to_do(url, message, capsys):
    assert main(["models", "list", "--store", url]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
