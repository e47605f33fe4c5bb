"""What holds for every command: help, usage errors, exit codes, interruption, missing extras."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from podpower import __version__
from podpower.cli import main
from podpower.cli.commands import build_parser

COMMANDS = ["collect from-file", "encode fit", "encode transform", "label", "join", "train", "predict", "evaluate"]


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "podpower", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"podpower {command}" in printed.split("options:")[1], "no example below the options"


@pytest.mark.parametrize("command", ["predict", "diff", "top", "evaluate"])
def test_help_shows_percentages_as_they_are_typed(command, capsys):
    assert main([command, "--help"]) == 0
    assert "%%" not in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from podpower.cli import main; main(['--help']); "
            "heavy = {'numpy', 'polars', 'dagster', 'litestar', 'yaml', 'rich', 'sklearn'}; "
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stderr.strip() == "[]"


def test_a_command_loads_no_other_command():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from podpower.cli import main; main(['label', '--help']); "
            "print('podpower.cli.label' in sys.modules, 'podpower.cli.demo' in sys.modules, file=sys.stderr)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stderr.split() == ["True", "False"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"podpower {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told", "help_of"),
    [
        ([], "COMMAND", "podpower"),
        (["nonsense"], "nonsense", "podpower"),
        (["encode"], "COMMAND", "podpower encode"),
        (["encode", "fit"], "--input, --out", "podpower encode fit"),
        (["train", "--train", "a", "--out", "b", "--neighbors", "0"], "at least 1", "podpower train"),
        (["train", "--train", "a", "--out", "b", "--target", "watts"], "energy_step_j", "podpower train"),
        (["label", "--recording", "r", "--out", "o", "--step", "1y"], "60s, 5m or 1h", "podpower label"),
        (["label", "--recording", "r", "--out", "o", "--start", "2026-01-31T06:00:00"], "time zone", "podpower label"),
        (["serve", "--port", "70000"], "65535", "podpower serve"),
        (["join", "--features", "f", "--labels", "l", "--out", "f"], "also the input", "podpower join"),
        (
            ["encode", "fit", "--input", "i", "--out", "o", "--no-sbert", "--text", "sbert"],
            "contradicts",
            "podpower encode fit",
        ),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments, told, help_of, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert told in printed.err
    assert f"(see `{help_of} --help`)" in printed.err


def test_a_failure_is_one_line_and_exit_code_1(capsys, tmp_path):
    assert main(["train", "--train", str(tmp_path / "none.parquet"), "--out", str(tmp_path / "m")]) == 1
    printed = capsys.readouterr().err
    assert printed == f"error: {tmp_path}/none.parquet: no such file\n"


def test_debug_shows_the_traceback_before_or_after_the_command(capsys, tmp_path):
    missing = ["train", "--train", str(tmp_path / "none.parquet"), "--out", "m"]
    for arguments in (["--debug", *missing], [*missing, "--debug"]):
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(tmp_path):
    """As in `podpower ... | head -1`."""
    manifest = tmp_path / "many.yaml"
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"
    manifest.write_text("---\n".join(pod.format(i) for i in range(2000)))
    child = subprocess.Popen(
        [sys.executable, "-m", "podpower", "collect", "from-file", str(manifest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.read(10)
    child.stdout.close()
    printed = child.stderr.read().decode()
    assert child.wait(timeout=60) == 141
    child.stderr.close()
    assert "Traceback" not in printed
    assert "BrokenPipe" not in printed


def wait_until_idle(pid):
    """Wait until a process that has begun to work takes no more processor time."""
    process, before_s = psutil.Process(pid), -1.0
    while process.cpu_times().user < 0.1 or process.cpu_times().user != before_s or process.status() != "sleeping":
        before_s = process.cpu_times().user
        time.sleep(1.0)


def test_interrupt_ends_quietly_with_130():
    child = subprocess.Popen(
        [sys.executable, "-m", "podpower", "collect", "from-file", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    wait_until_idle(child.pid)  # it waits for standard input
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=30) == 130
    assert child.stderr.read() == b""
    child.stdin.close()
    child.stderr.close()


def test_a_missing_extra_is_named(tmp_path):
    """The base install has no polars."""
    (tmp_path / "polars.py").write_text("raise ModuleNotFoundError('no polars', name='polars')\n")
    done = run("evaluate", "--train", "rows.parquet", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == "error: this command needs polars: pip install '.[pipeline]' in a clone of podpower\n"


def test_an_unexpected_error_is_one_line_that_names_debug(monkeypatch, capsys):
    parser = build_parser()
    monkeypatch.setattr("podpower.cli.build_parser", lambda _given: parser)
    parser.set_defaults()

    def broken(_arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(parser, "parse_args", lambda _argv: type("Arguments", (), {"run": staticmethod(broken)})())
    assert main([]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: unexpected RuntimeError: two lines")
    assert "--debug" in printed
    assert printed.count("\n") == 1
