"""`podpower top` on a terminal, from a fleet summary."""

import os
import sys

import pytest

from podpower.cli import main
from podpower.fleet.summary import write_summary
from podpower.registry.store import ModelStore
from tests.podpower.cli.terminals import Terminal
from tests.serving.fleets import summary_of, workload

_CLEARED = "\x1b[H\x1b[2J"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home whose fleet has two workloads."""
    store = ModelStore(tmp_path / "models")
    workloads = [workload("web", measured_w=5.0, predicted_w=4.0), workload("db", measured_w=9.0, predicted_w=2.0)]
    write_summary(store.root, summary_of(workloads))
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("sort", "first"), [("measured", "shop/db"), ("predicted", "shop/web"), ("name", "shop/db")])
def test_rows_are_sorted(sort, first, home, capsys):
    assert main(["top", "--sort", sort]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith(first)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_given_limit_holds_in_every_format(form, home, capsys):
    assert main(["top", "--format", form]) == 0
    assert "web" in capsys.readouterr().out
    assert main(["top", "--format", form, "--limit", "1"]) == 0
    printed = capsys.readouterr().out
    assert ("web" in printed, "db" in printed) == (False, True)
    assert main(["top", "--format", form, "--limit", "1", "--all"]) == 0
    assert "web" in capsys.readouterr().out


def test_watch_draws_the_screen_again_until_it_is_interrupted(home):
    environment = {**os.environ, "PODPOWER_HOME": str(home), "TERM": "vt100"}
    command = [sys.executable, "-m", "podpower", "top", "--watch", "200ms"]
    with Terminal(command, environment=environment) as terminal:
        terminal.wait_for(_CLEARED, times=3)
        terminal.type("\x03")
        assert terminal.exit_code() == 130
    assert terminal.seen.count("shop/db") >= 2
    assert "Traceback" not in terminal.seen


def test_a_filter_that_leaves_no_row_is_stated(home, capsys):
    assert main(["top", "--namespace", "misspelt"]) == 0
    assert "nothing matches" in capsys.readouterr().out.splitlines()
