"""`-` is standard input or output, for whatever a command reads or writes."""

import subprocess
import sys

import pytest

from podpower.cli import main
from podpower.registry.artifacts import encoder_from_bytes, model_from_bytes


def piped(*arguments, given=b""):
    """A command with these bytes on standard input: what it wrote to standard output."""
    done = subprocess.run([sys.executable, "-m", "podpower", *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_artifacts_are_written_to_standard_output(workflow):
    encoder = piped("encode", "fit", "--input", f"{workflow}/shop.yaml", "--out", "-")
    assert encoder_from_bytes(encoder).dim > 0
    model = piped("train", "--train", "-", "--out", "-", given=(workflow / "train_rows.parquet").read_bytes())
    assert model_from_bytes(model).training_size["workloads"] > 1


@pytest.mark.parametrize("read", ["encoder", "model"])
def test_artifacts_are_read_from_standard_input(workflow, read):
    files = {"encoder": workflow / "encoder.joblib", "model": workflow / "knn_energy.joblib"}
    given = files[read].read_bytes()
    named = {name: "-" if name == read else str(path) for name, path in files.items()}
    options = ["--encoder", named["encoder"], "--model", named["model"], "--format", "csv"]
    assert piped("predict", *options, "--input", f"{workflow}/shop.yaml", given=given).startswith(b"namespace,")


@pytest.mark.parametrize("read", ["features", "labels"])
def test_tables_are_joined_from_standard_input(workflow, read):
    files = {name: f"{workflow}/{name}.parquet" for name in ("features", "labels")}
    given = (workflow / f"{read}.parquet").read_bytes()
    named = files | {read: "-"}
    rows = piped("join", "--features", named["features"], "--labels", named["labels"], "--out", "-", given=given)
    assert rows.startswith(b"PAR1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["join", "--features", "-", "--labels", "-", "--out", "rows"],
        ["predict", "--encoder", "-", "--model", "-", "--input", "x"],
        ["models", "add", "--encoder", "-", "--model", "-"],
    ],
    ids=["join", "predict", "add"],
)
def test_standard_input_is_read_once(arguments, capsys):
    assert main(arguments) == 2
    assert "only one input can be standard input" in capsys.readouterr().err
