from pathlib import Path

import yaml

from podpower.cli.homes import home_environment

ROOT = Path(__file__).parents[3]
FORMER = "# Settings of the Dagster instance: what holds on a laptop. History lies in DAGSTER_HOME.\ntelemetry: {}\n"


def settings(home, environment=None):
    notes = []
    home_environment(home, environment or {}, note=notes.append)
    return (home / "dagster" / "dagster.yaml").read_text(), notes


def test_a_new_home_has_the_settings_of_the_checkout(tmp_path):
    text, notes = settings(tmp_path)
    assert text == (ROOT / "dagster.yaml").read_text()
    assert notes == []


def test_settings_of_a_former_version_are_replaced_and_kept_beside(tmp_path):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(FORMER)
    text, notes = settings(tmp_path)
    assert text == (ROOT / "dagster.yaml").read_text()
    assert (tmp_path / "dagster" / "dagster.yaml.before").read_text() == FORMER
    assert "dagster.yaml.before" in notes[0]
    assert settings(tmp_path)[1] == []


def test_settings_of_ones_own_are_left_alone(tmp_path):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: true}\n")
    text, notes = settings(tmp_path)
    assert text == "telemetry: {enabled: true}\n"
    assert "settings of your own" in notes[0]


def test_history_on_postgresql_is_named_by_its_variable_and_not_by_its_password(tmp_path):
    text, _ = settings(tmp_path, {"PODPOWER_POSTGRES_URL": "postgresql://dagster:secret@db/dagster"})
    assert "secret" not in text
    assert yaml.safe_load(text)["storage"] == {"postgres": {"postgres_url": {"env": "PODPOWER_POSTGRES_URL"}}}
    assert "storage" not in yaml.safe_load(settings(tmp_path)[0])
