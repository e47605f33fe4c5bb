"""Real processes: whatever a file or standard input contains, a command ends with an error of one line."""

import subprocess
import sys

import pytest

from benchmarks.bench_hostile_input import GOOD, MANIFESTS

NAMES = [
    "nested block sequences", "nested flow mappings", "nested JSON, closed", "nested JSON behind a document",
    "nested List", "broken JSON documents", "aliases of aliases", "tag directives", "long kind",
]  # fmt: skip
COMMANDS = [
    "collect from-file {}",
    "collect from-file -",
    "predict --input {}",
    "predict --input -",
    "encode fit --input {} --text none --out {}.joblib",
    "encode transform --input {} --encoder {}/../encoder.joblib --out {}.parquet",
]


@pytest.fixture(scope="module")
def folder(workflow, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for index, name in enumerate(NAMES):
        (folder / f"{index}.yaml").write_bytes(MANIFESTS[name](52_000))
    (folder / "good.yaml").write_text(GOOD)
    (folder / "encoder.joblib").write_bytes((workflow / "encoder.joblib").read_bytes())
    return folder


def run(*arguments, text=None):
    return subprocess.run(
        [sys.executable, "-m", "podpower", *arguments], input=text, capture_output=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split(" --")[0].replace(" {}", ""))
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_is_an_error_of_one_line(name, command, folder):
    path = folder / f"{NAMES.index(name)}.yaml"
    arguments = command.replace("{}/..", str(folder)).replace("{}", str(path)).split()
    done = run(*arguments, text=path.read_bytes() if "-" in arguments else None)
    errors = done.stderr.decode()
    good = name.endswith("behind a document") or name == "broken JSON documents"
    assert done.returncode == 1, errors
    assert "Traceback" not in errors
    assert ("error: " in errors) != good
    assert all(len(line) < 1500 for line in errors.splitlines())


def test_a_hostile_file_does_not_hide_the_good_one_beside_it(folder):
    done = run("collect", "from-file", str(folder))
    errors = done.stderr.decode()
    assert done.returncode == 1, errors
    assert done.stdout.count(b'"workload_name":"good"') == 1
    assert "skipped 2 objects that are given again later: " in errors
    assert "nested deeper than 100 levels" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("\x1b[2Jpredict",),
        ("train", "--train", "rows\x1b[2J\x07.parquet", "--out", "m.joblib"),
        ("train", "--train", "rows.parquet", "--out", "m.joblib", "--\x1b[2Jout"),
        ("train", "--train", "rows.parquet", "--out", "m.joblib", "surplus\x1b[2J"),
        ("train", "--train", "rows.parquet", "--out", "m.joblib", "--neighbors", "\x1b[2J\u202e3"),
        (
            "label",
            "--prom",
            "http://\x1b[2J",
            "--start",
            "-6h",
            "--end",
            "now",
            "--mode",
            "window",
            "--out",
            "l.parquet",
        ),
        ("--debug", "predict", "--input", "gone\x1b[2J.yaml"),
    ],
    ids=lambda arguments: ascii(arguments[-1]),
)
def test_an_argument_in_an_error_moves_no_terminal(arguments):
    done = run(*arguments)
    errors = done.stderr.decode()
    assert done.returncode in {1, 2}, errors
    assert "error: " in errors or "Traceback" in errors
    assert all(character.isprintable() for line in errors.split("\n") for character in line), errors
