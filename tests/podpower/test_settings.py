"""Each environment variable is declared once, parsed by its type, and read nowhere else."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import podpower
from podpower.errors import InvalidInput
from podpower.settings import Settings, give_back_memory
from podpower.settings_reference import reference

ROOT = Path(podpower.__file__).parents[1]
PACKAGES = ("podpower", "podpower_assets", "podpower_serving")


def test_without_an_environment_every_default_is_there() -> None:
    found = Settings()
    assert found.places.model_store == ".podpower/models"
    assert found.places.recording(live=False).endswith("/.podpower/recording")
    assert found.places.recording(live=True).endswith("/.podpower/journal")
    assert found.places.artifacts is None
    assert found.prometheus.url is None
    assert found.prometheus.verify_tls
    assert found.cluster.verify_tls is None
    assert not found.cluster.is_inside
    assert found.cluster.history_hours == 24
    assert found.assets.window_days == 7
    assert found.service.max_body_mib == 8.0


def test_empty_is_as_good_as_absent() -> None:
    names = [variable.name for _, variables in reference() for variable in variables]
    empty = Settings(dict.fromkeys(names, " "))
    nothing = Settings()
    for group in ("places", "prometheus", "cluster", "assets", "service"):
        assert getattr(empty, group) == getattr(nothing, group)


def test_values_are_parsed_by_their_type() -> None:
    found = Settings(
        {
            "PODPOWER_HOME": "s3://bucket/podpower",
            "PODPOWER_PROMETHEUS_HEADERS": "X-Scope-OrgID=team-a, X-B = c=d",
            "PODPOWER_PROMETHEUS_MATCH": 'cluster="prod",job=~"kepler.*"',
            "PODPOWER_PROMETHEUS_VERIFY_SSL": "no",
            "PODPOWER_NAMESPACES": "shop, web infra",
            "VERIFY_SSL": "FALSE",
            "PODPOWER_RELOAD_SECONDS": "0.5",
            "PODPOWER_API_PORT": "8080",
        }
    )
    assert found.places.tables == "s3://bucket/podpower/tables"
    assert found.prometheus.headers == {"X-Scope-OrgID": "team-a", "X-B": "c=d"}
    assert found.prometheus.match == ('cluster="prod"', 'job=~"kepler.*"')
    assert found.prometheus.verify_tls is False
    assert found.cluster.verify_tls is False
    assert found.cluster.namespaces == ("shop", "web", "infra")
    assert found.service.reload_seconds == 0.5
    assert found.service.api_port == 8080


@pytest.mark.parametrize(
    ("name", "value", "group"),
    [
        ("VERIFY_SSL", "perhaps", lambda s: s.cluster),
        ("PODPOWER_HISTORY_HOURS", "-1", lambda s: s.cluster),
        ("PODPOWER_HISTORY_HOURS", "9" * 5000, lambda s: s.cluster),
        ("PODPOWER_WINDOW_DAYS", "0", lambda s: s.assets),
        ("PODPOWER_KEEP_MODELS", "many", lambda s: s.assets),
        ("PODPOWER_API_PORT", "70000", lambda s: s.service),
        ("PODPOWER_API_URL", "podpower.example.org", lambda s: s.service),
        ("PODPOWER_API_URL", "javascript:alert(1)", lambda s: s.service),
        ("PODPOWER_API_URL", "https://user:word@podpower.example.org", lambda s: s.service),
        ("PODPOWER_MAX_BODY_MIB", "nan", lambda s: s.service),
        ("PODPOWER_PROMETHEUS_HEADERS", "X-Scope-OrgID", lambda s: s.prometheus),
    ],
)
def test_a_bad_value_names_its_variable_and_stops_only_its_group(
    name: str, value: str, group: Callable[[Settings], object]
) -> None:
    found = Settings({name: value})
    with pytest.raises(InvalidInput, match=f"^{name}: "):
        group(found)
    assert found.places.home is None


def test_the_address_of_the_api_is_its_port_on_this_machine_unless_it_is_given() -> None:
    assert Settings({"PODPOWER_API_PORT": "8081"}).service.api_url == "http://127.0.0.1:8081"
    given = {"PODPOWER_API_PORT": "8081", "PODPOWER_API_URL": "https://podpower.example.org/api/"}
    assert Settings(given).service.api_url == "https://podpower.example.org/api"


def test_one_artifact_without_the_other_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="ENCODER_PATH is set and MODEL_PATH is not"):
        _ = Settings({"ENCODER_PATH": "e"}).places.artifacts
    assert Settings({"ENCODER_PATH": "e", "MODEL_PATH": "m"}).places.artifacts == ("e", "m")


def test_secrets_are_not_shown() -> None:
    found = Settings(
        {
            "PODPOWER_PROMETHEUS_URL": "http://user:s3cret@prom",
            "PODPOWER_PROMETHEUS_TOKEN": "s3cret",
            "PODPOWER_PROMETHEUS_PASSWORD": "s3cret",
            "PODPOWER_PROMETHEUS_HEADERS": "Authorization=s3cret",
            "PODPOWER_ALERT_WEBHOOK": "https://hooks.example/s3cret",
        }
    )
    assert "s3cret" not in repr(found) + repr(found.prometheus) + repr(found.assets)


def test_every_variable_is_described_once() -> None:
    variables = [variable for _, group in reference() for variable in group]
    assert len({variable.name for variable in variables}) == len(variables)
    assert all(variable.description.endswith(".") for variable in variables)


def test_one_module_reads_the_environment() -> None:
    readers, at_import = set(), set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            name = path.relative_to(ROOT).as_posix()
            if {"environ", "getenv", "environb"} & {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}:
                readers.add(name)
            top = [
                n
                for n in tree.body
                if not isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If)
            ]
            if any(ast.unparse(n.func) == "settings.read" for t in top for n in ast.walk(t) if isinstance(n, ast.Call)):
                at_import.add(name)
    assert readers == {"podpower/settings.py"}
    assert at_import == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "dirty_decay_ms:100"),
        ("narenas:7", "narenas:7"),
        ("dirty_decay_ms:500,muzzy_decay_ms:1000", "dirty_decay_ms:100"),
        ("dirty_decay_ms:500,muzzy_decay_ms:1000,narenas:7", "dirty_decay_ms:500"),
    ],
    ids=["by default", "configured", "polars was loaded", "configured, and polars was loaded"],
)
def test_the_allocator_gives_memory_back_unless_the_environment_configures_it(monkeypatch, before, after):
    variable = "_RJEM_MALLOC_CONF"
    monkeypatch.setenv(variable, before or "")
    if before is None:
        monkeypatch.delenv(variable)
    give_back_memory()
    assert os.environ[variable].split(",")[0] == after
