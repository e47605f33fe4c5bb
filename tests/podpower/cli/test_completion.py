"""Completion in the shells themselves: bash by its function, fish by its own command, zsh and tcsh by the Tab key."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from podpower.cli import main
from podpower.cli.completion import SHELLS
from tests.podpower.cli.terminals import Terminal

# Of each shell: how it is started, what loads the script, and how it shows that it is ready.
_LOADED = {
    "zsh": (["zsh", "-f", "-i"], "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\n"),
    "tcsh": (["tcsh", "-f"], "set autolist; source {folder}/_podpower; echo rea''dy\n"),
}


@pytest.fixture
def script(tmp_path, capsys):
    """Writes the script of a shell into a folder."""

    def write(shell):
        assert main(["completion", shell]) == 0
        (tmp_path / "_podpower").write_text(capsys.readouterr().out)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("words", "place", "wanted"),
    [
        ("pred", 1, "predict"),
        ("diff --fail-i", 2, "--fail-increase"),
        ("predict -f ma", 3, "manifest.yaml"),
        ("diff manifest.yaml ma", 3, "manifest.yaml"),
        ("train --train ma", 3, "manifest.yaml"),
    ],
)
def test_bash_completes_commands_options_and_files(words, place, wanted, script):
    folder = script("bash")
    (folder / "manifest.yaml").write_text("")
    ask = (
        f"source _podpower; COMP_WORDS=(podpower {words}); COMP_CWORD={place}; _shtab_podpower; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", ask], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [wanted], done


@pytest.mark.parametrize("shell", _LOADED)
def test_the_tab_key_completes_commands_and_options(shell, script):
    if shutil.which(shell) is None:
        reason = f"there is no {shell}"
        (pytest.fail if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1" else pytest.skip)(reason)
    folder = script(shell)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "vt100", "HOME": str(folder),
    }  # fmt: skip
    command, load = _LOADED[shell]
    with Terminal(command, environment=environment, cwd=folder) as terminal:
        terminal.type(load.format(folder=folder))
        terminal.wait_for("ready")
        terminal.type("podpower pred\t")
        terminal.wait_for("predict")
        terminal.type("--fail-\t\t")
        terminal.wait_for("fail-above")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("podpower pred", "predict"),
        ("podpower diff --fail-i", "--fail-increase"),
        ("podpower diff ma", "manifest.yaml"),
    ],
)
def test_fish_completes_commands_options_and_files(line, wanted, script):
    if shutil.which("fish") is None:
        (pytest.fail if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1" else pytest.skip)("there is no fish")
    folder = script("fish")
    (folder / "manifest.yaml").write_text("")
    ask = f"source _podpower; complete -C '{line}'"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        ["fish", "--no-config", "-c", ask],
        cwd=folder, capture_output=True, text=True, timeout=60, check=True, env=environment,
    )  # fmt: skip
    assert [found.split("\t")[0] for found in done.stdout.splitlines()] == [wanted], done


def test_every_shell_that_is_offered_has_a_test():
    assert set(SHELLS) == {"bash", "fish", *_LOADED}
