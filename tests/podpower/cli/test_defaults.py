"""`podpower.yaml`, and words that are nearly right."""

import json
import subprocess
import sys

import pytest

from podpower.cli import main
from tests.podpower.cli.shop import manifest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    (tmp_path / "web.yaml").write_text(manifest("web", "nginx:1.27"))
    (tmp_path / "more.yaml").write_text(manifest("web", "nginx:1.27", replicas=9))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_defaults_of_a_project_are_overridden_by_the_command_line(folder, capsys):
    (folder / "podpower.yaml").write_text("price: 0.25\ncurrency: usd\npredict: {format: json}\n")
    _, out, _ = run(capsys, "predict", "web.yaml")
    assert json.loads(out)["inputs"]["price_per_kwh"] == 0.25
    assert json.loads(out)["total"]["currency"] == "USD"
    _, out, _ = run(capsys, "predict", "web.yaml", "--price", "0.5")
    assert json.loads(out)["inputs"]["price_per_kwh"] == 0.5


def test_a_format_that_some_commands_lack_is_the_default_of_the_others(folder, capsys):
    (folder / "podpower.yaml").write_text("format: markdown\n")
    assert run(capsys, "predict", "web.yaml")[1].startswith("| workload |")
    assert "no version in" in "".join(run(capsys, "models", "list")[1:])


def test_defaults_beside_manifests_are_none_of_them(folder, capsys):
    """As the page on pull requests has them; a manifest of that name, perhaps of podpower itself, is one."""
    (folder / "podpower.yaml").write_text("price: 0.25\n")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(
        ["git", "-c", "user.email=a@b", "-c", "user.name=a", "commit", "-q", "-m", "x"], cwd=folder, check=True
    )
    assert run(capsys, "predict", ".")[0] == 0
    assert run(capsys, "diff", "main:.", ".")[0] == 0
    (folder / "k8s").mkdir()
    (folder / "k8s" / "podpower.yaml").write_text(manifest("podpower", "podpower:1"))
    code, out, _ = run(capsys, "predict", ".", "-o", "csv")
    assert code == 0
    assert "podpower:1" in out or ",podpower," in out


def test_thresholds_of_a_project_fail_its_builds(folder, capsys):
    (folder / "podpower.yaml").write_text("diff:\n  fail-increase: [5%, 10MWh]\n")
    assert run(capsys, "diff", "web.yaml", "more.yaml")[0] == 3
    assert run(capsys, "diff", "web.yaml", "web.yaml")[0] == 0


@pytest.mark.parametrize("command", ["predict", "diff"])
def test_a_project_has_defaults_of_several_commands(command, folder, capsys):
    (folder / "podpower.yaml").write_text("diff: {fail-increase: 500%}\ntop: {limit: 5}\npredict: {price: 0.3}\n")
    assert run(capsys, command, "web.yaml", *(["web.yaml"] if command == "diff" else []))[0] == 0


@pytest.mark.parametrize("name", ["carbon", "usage"])
@pytest.mark.parametrize("outside", ["../secret.csv", "link.csv", "{folder}/../secret.csv"])
def test_a_project_names_no_file_outside_its_folder(name, outside, folder, capsys):
    secret = folder.parent / "secret.csv"
    secret.write_text("password,hunter2\n")
    (folder / "link.csv").symlink_to(secret)
    (folder / "podpower.yaml").write_text(f"{name}: {outside.format(folder=folder)}\n")
    code, _, said = run(capsys, "predict", "web.yaml")
    assert code == 1
    assert f"outside this folder; give it as --{name}" in said
    assert "hunter2" not in said


def test_a_project_does_not_choose_where_credentials_are_sent(folder, capsys):
    (folder / "podpower.yaml").write_text("top: {prom: http://elsewhere.example}\n")
    code, _, said = run(capsys, "predict", "web.yaml")
    assert code == 1
    assert "no option top.'prom'" in said


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("prise: 0.3", "did you mean price?"), ("price: lots", "price: 'lots' is not a number"),
        ("predict: {out: x}", "no option predict.'out'"), ("predcit: {price: 1}", "did you mean predict?"),
        ("scope: everything", "is not one of dynamic, total"), ("[1]", "must have lines such as"),
        ("price: []", "price must be a value"), ("price: {a: b}", "price must be a value"),
        ("price: [1, 2]", "price must be a value"), ("cluster: [[]]", "cluster must be a value"),
        ("price:", "price must be a value"), ("predict: {fail-above: [[]]}", "fail-above must be a value, or a list"),
        ("predict: 5", "predict is a command: write its options below it"), ("format: jsn", "'jsn' is not one of"),
        ("price: 1\nprice: 2", "given twice"), ("serve: {price: 1}", "podpower serve has no option price"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(text, wrong, folder, capsys):
    (folder / "podpower.yaml").write_text(text)
    code, _, said = run(capsys, "predict", "web.yaml")
    assert code == 1
    assert wrong in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["pridict"], "no such command: pridict; did you mean predict?"),
        (["predict", "web.yaml", "--fromat", "json"], "did you mean --format?"),
        (["predict", "web.yaml", "--format", "jsn"], "no such --format: jsn; did you mean json?"),
        (["models", "lsit"], "did you mean list?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(words, hint, folder, capsys):
    code, _, said = run(capsys, *words)
    assert code == 2
    assert hint in said
    assert said.count("\n") == 1


def test_output_that_is_no_longer_read_ends_as_a_signal_of_a_pipe_would(folder):
    command = (
        f"{sys.executable} -m podpower predict web.yaml --format json | head -c 1 > /dev/null; echo ${{PIPESTATUS[*]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() in (["0", "0"], ["141", "0"])
    assert "Traceback" not in done.stderr


def test_a_closed_standard_input_is_one_line(folder):
    command = f"{sys.executable} -m podpower predict -f - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "standard input is closed" in done.stderr
    assert done.stderr.count("\n") == 1
