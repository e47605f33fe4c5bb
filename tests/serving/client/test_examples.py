"""The examples run against a real service."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
MANIFEST = EXAMPLES / "deployment.yaml"


def ran(script, *words):
    command = [sys.executable, EXAMPLES / script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def asked(request, client, filled_store):
    """The options that name the service, and those that name the store."""
    return {"service": ["--url", client.base_url], "store": ["--store", filled_store.root]}


@pytest.mark.parametrize("by", ["service", "store"])
def test_a_build_fails_beyond_its_watts(asked, by):
    within = ran("ci.py", "--most-watts", 1e6, MANIFEST, *asked[by])
    assert within.returncode == 0, within.stderr
    assert "total: " in within.stdout
    beyond = ran("ci.py", "--most-watts", 0.001, MANIFEST, *asked[by])
    assert (beyond.returncode, beyond.stdout.splitlines()[:-1]) == (3, within.stdout.splitlines()[:-1])


def test_a_build_does_not_pass_where_something_is_unknown(asked, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: Deployment\nmetadata: {name: a}\nspec: {}")
    for manifest in (broken, tmp_path / "none.yaml"):
        done = ran("ci.py", "--most-watts", 1e6, MANIFEST, manifest, *asked["service"])
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
    assert ran("ci.py", "--most-watts", 1, MANIFEST, "--url", "http://127.0.0.1:1").returncode == 1


def test_a_scheduler_fills_nodes_by_watts(asked):
    done = ran("scheduler.py", MANIFEST, "--node", "a=1000", "--node", "b=2000", *asked["service"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    a, b = (
        lines.index(next(x for x in lines if x.startswith("a: "))),
        next(i for i, x in enumerate(lines) if x.startswith("b: ")),
    )
    assert b - a > 1, "the node with the least watts left takes the pods"
    assert lines[b] == "b: 0.00 of 2000 W"
    none = ran("scheduler.py", MANIFEST, "--node", "a=0.001", *asked["service"])
    assert none.returncode == 1
    assert "no node has the watts for" in none.stderr
