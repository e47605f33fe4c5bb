import json

import pytest

from podpower.cli import main
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
