import contextlib
import socket
from pathlib import Path

import pytest
import yaml
from dagster._grpc.utils import default_grpc_timeout
from s3fs import S3FileSystem

from podpower.cli import main
from podpower.cli.demo import _MANIFEST as MANIFEST
from podpower.cli.homes import home_at, home_environment
from podpower.cli.ports import free_port
from podpower.cli.up import check_answers
from podpower.errors import InvalidInput, Unavailable
from podpower.io.files import read_bounded

ROOT = Path(__file__).parents[3]
FORMER = "# Settings of the Dagster instance: what holds on a laptop. History lies in DAGSTER_HOME.\ntelemetry: {}\n"
FIRST = "telemetry:\n  enabled: false\n"


def settings(home, environment=None):
    notes = []
    home_environment(home_at(str(home)), environment or {}, note=notes.append)
    return (home / "dagster" / "dagster.yaml").read_text(), notes


def storage(name, **config):
    """Return the section `storage` of Dagster's settings."""
    kind = f"{name.title()}Storage"
    return {"custom": {"module": f"podpower_assets.storage.{name}", "class": kind, "config": config}}


def test_a_new_home_has_the_settings_of_the_checkout_and_a_history_in_its_folder(tmp_path):
    text, notes = settings(tmp_path)
    assert text.startswith((ROOT / "dagster.yaml").read_text())
    assert yaml.safe_load(text)["storage"] == storage("sqlite", base_dir={"env": "DAGSTER_HOME"})
    assert str(tmp_path) not in text
    assert notes == []


def test_a_new_home_opens_the_dagster_ui_without_a_form_for_addresses(tmp_path):
    found = yaml.safe_load(settings(tmp_path)[0])
    assert found["telemetry"] == {"enabled": False}
    assert found["nux"] == {"enabled": False}


def test_a_taken_port_comes_with_the_option_for_another_one(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])
        for option, name in (("--dagster-port", "Dagster UI"), ("--api-port", "prediction API")):
            free = {"--dagster-port": str(free_port()), "--api-port": str(free_port())} | {option: taken}
            arguments = [word for pair in free.items() for word in pair]
            assert main(["up", "--home", str(tmp_path), *arguments]) == 1
            said = capsys.readouterr().err
            assert f"port {taken} for the {name} is taken: stop what listens there, or give another {option}" in said


@pytest.mark.parametrize("former", [FORMER, FIRST], ids=["before 2026-08", "of the first up"])
def test_settings_of_a_former_version_are_replaced_and_kept_beside(tmp_path, former):
    """A home of the first `podpower up` kept its settings for ever: no queue, no launcher that sees dead runs."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(former)
    text, notes = settings(tmp_path)
    assert text.startswith((ROOT / "dagster.yaml").read_text())
    assert (tmp_path / "dagster" / "dagster.yaml.before").read_text() == former
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
    assert yaml.safe_load(text)["storage"] == storage("postgres", postgres_url={"env": "PODPOWER_POSTGRES_URL"})


@pytest.mark.parametrize(("given", "seconds"), [({}, 300), ({"DAGSTER_GRPC_TIMEOUT_SECONDS": "20"}, 20)])
def test_a_run_that_is_slow_to_start_on_a_busy_machine_is_not_given_up(tmp_path, monkeypatch, given, seconds):
    environment = home_environment(home_at(str(tmp_path)), given)
    monkeypatch.setenv("DAGSTER_GRPC_TIMEOUT_SECONDS", environment["DAGSTER_GRPC_TIMEOUT_SECONDS"])
    assert default_grpc_timeout() == seconds


def test_a_home_at_a_url_keeps_history_and_logs_in_a_folder(s3_url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = home_at(f"{s3_url}/podpower/")
    environment = home_environment(home, {"PODPOWER_PROMETHEUS_URL": "http://prometheus:9090"})
    assert environment["PODPOWER_HOME"] == f"{s3_url}/podpower"
    assert environment["PODPOWER_MODEL_STORE"] == f"{s3_url}/podpower/models"
    assert environment["PODPOWER_RECORDING"] == f"{s3_url}/podpower/journal"
    assert environment["DAGSTER_HOME"] == str(tmp_path / ".podpower" / "dagster")
    simulated = home_environment(home, {})
    assert simulated["PODPOWER_RECORDING"] == str(tmp_path / ".podpower" / "recording")
    assert [path.name for path in tmp_path.iterdir()] == [".podpower"]


@pytest.mark.parametrize(
    "command", [["up", "--home"], ["demo", "--home"], ["simulate", "--out"], ["models", "list", "--store"]]
)
@pytest.mark.parametrize("url", ["foo://bucket/podpower", "s3:/bucket/podpower"])
def test_a_url_that_cannot_be_used_is_one_error_and_no_folder(command, url, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command, url]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert url in line
    assert list(tmp_path.iterdir()) == []


def test_a_recording_at_a_url_is_one_error_and_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "--out", "s3://bucket/recording", "--hours", "1"]) == 1
    assert "a recording needs a local folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_command_writes_its_output_to_a_url(s3_url, tmp_path, monkeypatch):
    """It used to make a folder named s3:."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.yaml").write_text(MANIFEST)
    with (tmp_path / "in.ndjson").open("w") as out, contextlib.redirect_stdout(out):
        assert main(["collect", "from-file", "in.yaml"]) == 0
    assert main(["encode", "fit", "--input", "in.ndjson", "--text", "none", "--out", f"{s3_url}/encoder.joblib"]) == 0
    transform = ["encode", "transform", "--input", "in.ndjson", "--encoder", f"{s3_url}/encoder.joblib"]
    assert main([*transform, "--out", f"{s3_url}/features.parquet"]) == 0
    assert read_bounded(f"{s3_url}/features.parquet", limit_bytes=1 << 20)[:4] == b"PAR1"
    assert {path.name for path in tmp_path.iterdir()} == {"in.yaml", "in.ndjson"}


def test_a_file_of_clusters_has_places_of_its_own(tmp_path):
    home = home_at(str(tmp_path))
    one = home_environment(home, {"PODPOWER_PROMETHEUS_URL": "http://p"})
    several = home_environment(home, {"PODPOWER_PROMETHEUS_URL": "http://p", "PODPOWER_CLUSTERS": "c.yaml"})
    assert one["PODPOWER_RECORDING"] == str(tmp_path / "journal")
    assert "PODPOWER_RECORDING" not in several


def test_a_bucket_that_does_not_exist_is_an_error_with_its_name(s3_url):
    check_answers(home_at(f"{s3_url}/podpower"))
    with pytest.raises(InvalidInput, match="there is no bucket 'no-such-bucket'"):
        check_answers(home_at("s3://no-such-bucket/podpower"))


def test_a_home_that_does_not_answer_is_an_error_before_anything_starts(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(Unavailable, match="s3://nobody/podpower"):
        check_answers(home_at("s3://nobody/podpower"))
    S3FileSystem.clear_instance_cache()
