"""`-` is standard input or output, for whatever a command reads or writes."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from podpower.cli import main, streams
from podpower.registry.artifacts import encoder_from_bytes, model_from_bytes
from tests.podpower.cli.shop import manifest


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


@pytest.mark.parametrize("arguments", ["--version", "--help", "predict {}/web.yaml", "completion bash"])
def test_an_output_that_is_full_is_a_failure(arguments, tmp_path):
    (tmp_path / "web.yaml").write_text(manifest("web", "nginx"))
    command = [sys.executable, "-m", "podpower", *arguments.replace("{}", str(tmp_path)).split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("error: No space left on device\n")


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "markdown", "html"])
def test_a_name_that_the_encoding_of_the_output_lacks_is_escaped(form, tmp_path):
    name = "wéb-中-\N{ROCKET}"
    (tmp_path / "web.yaml").write_text(manifest(f'"{name}"', "nginx"), encoding="utf-8")
    command = [sys.executable, "-m", "podpower", "predict", str(tmp_path), "--format", form]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PODPOWER_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    out = done.stdout.decode("ascii")
    assert done.returncode == 0, done.stderr
    if form in {"json", "yaml"}:
        answer = (json.loads if form == "json" else yaml.safe_load)(out)
        assert answer["predictions"][0]["workload_name"] == name
    else:
        shown = name.encode("ascii", "xmlcharrefreplace" if form == "html" else "backslashreplace").decode()
        assert shown in out.replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_file_name_that_is_no_utf_8_is_shown_with_question_marks(form, tmp_path):
    (tmp_path / "web.yaml").write_text(manifest("web", "nginx"))
    with open(os.fsencode(tmp_path) + b"/\xff.yaml", "w") as stream:
        stream.write("{")
    command = [sys.executable, "-m", "podpower", "predict", str(tmp_path), "--format", form]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "rejected: " in done.stderr.decode()
    assert "/\ufffd.yaml" in done.stderr.decode()
    if form == "json":
        assert json.loads(done.stdout)["errors"][0]["source"].endswith("/\ufffd.yaml")


@pytest.mark.parametrize("option", ["--cluster", "--node-type"])
def test_a_name_in_an_option_can_be_printed(option, tmp_path):
    command = [sys.executable, "-m", "podpower", "predict", str(tmp_path), option, b"\xff"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"error: argument {option}: " in done.stderr
    assert "is not a name" in done.stderr


def test_an_input_without_an_end_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(streams, "MOST_BYTES", 3 << 20)
    assert main(["predict", "-f", "/dev/zero"]) == 1
    assert capsys.readouterr().err == "error: /dev/zero has more than 3 MiB: give it in parts\n"


def test_a_folder_to_kustomize_names_the_command(capsys):
    assert main(["predict", "-k", "overlays/prod"]) == 2
    assert "kubectl kustomize overlays/prod | podpower predict -f -" in capsys.readouterr().err
