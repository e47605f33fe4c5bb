"""`podpower diff` on files, folders and a real git repository."""

import csv
import io
import json
import subprocess

import pytest

from podpower.cli import main
from tests.clusters.objects import write_kubeconfig
from tests.http_servers import Response, serving
from tests.podpower.cli.shop import manifest


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository whose deploy/ has two workloads at main, and one of them changed since."""
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    root = tmp_path / "repo"
    (root / "deploy").mkdir(parents=True)
    (root / "deploy" / "web.yaml").write_text(manifest("web", "nginx:1.27"))
    (root / "deploy" / "db.yaml").write_text(manifest("db", "postgres:16"))
    (root / "README.md").write_text("no manifest")
    for command in ("init -q -b main", "add -A", "-c user.email=a@b -c user.name=a commit -q -m one"):
        subprocess.run(["git", *command.split()], cwd=root, check=True)
    (root / "deploy" / "web.yaml").write_text(manifest("web", "nginx:1.27", replicas=6))
    monkeypatch.chdir(root)
    return root


def run(capsys, *arguments):
    code = main(["diff", *map(str, arguments)])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.out, printed.err


@pytest.mark.parametrize("old", ["main:deploy/", "main:deploy", "main", "HEAD:./deploy"])
def test_a_folder_is_compared_with_itself_at_a_commit(old, repository, capsys):
    code, out, _ = run(capsys, old, "deploy/", "--format", "json")
    answer = json.loads(out)
    assert code == 0
    assert [(change["workload_name"], change["what"]) for change in answer["changes"]] == [("web", ["replicas 2 -> 6"])]
    assert answer["unchanged"] == 1
    low, high = answer["changes"][0]["delta_interval"]["avg_power_w"]
    assert 0 <= low <= answer["changes"][0]["delta_w"] <= high


def test_a_file_at_a_commit_and_from_a_subfolder(repository, capsys, monkeypatch):
    monkeypatch.chdir(repository / "deploy")
    code, out, _ = run(capsys, "main:./web.yaml", "web.yaml")
    assert code == 0
    assert "replicas 2 -> 6" in out
    assert "This change adds" in out


def test_a_path_that_was_not_there_is_all_new(repository, capsys):
    (repository / "elsewhere").mkdir()
    code, out, said = run(capsys, "main:elsewhere", "deploy", "--format", "json")
    assert code == 0
    assert {change["change"] for change in json.loads(out)["changes"]} == {"added"}
    assert "main has no elsewhere: everything is new" in said


def test_a_path_that_is_nowhere_is_a_mistake(repository, capsys):
    code, _, said = run(capsys, "main:deploi/", "deploy")
    assert code == 1
    assert "main has no deploi, and the working tree has none either" in said


@pytest.mark.parametrize("old", ["nope:deploy", "--exec=x:deploy", "main@{99}:x", ":", "nope.yaml"])
def test_what_is_no_side_is_one_line(old, repository, capsys):
    code, _, said = run(capsys, "--", old, "deploy")
    assert code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--fail-increase", "5%"], 3),
        (["--fail-increase", "1000%"], 0),
        (["--fail-increase", "1Wh"], 3),
        (["--fail-increase", "1mW"], 3),
        (["--fail-increase", "10MWh"], 0),
        (["--fail-decrease", "1%"], 0),
        (["--fail-increase", "0.00001EUR", "--price", "1"], 3),
        (["--fail-increase", "5EUR"], 2),
        (["--fail-increase", "lots"], 2),
    ],
)
def test_an_increase_above_a_threshold_has_exit_code_3(options, code, repository, capsys):
    found, _, said = run(capsys, "main", "deploy", *options)
    assert found == code
    assert ("above the threshold" in said) == (code == 3)


def test_thresholds_hold_in_both_directions(repository, capsys):
    assert run(capsys, "deploy", "main", "--fail-increase", "1%")[0] == 0
    code, _, said = run(capsys, "deploy", "main", "--fail-decrease", "1%")
    assert code == 3
    assert "the decrease is" in said


def test_an_increase_from_nothing_is_above_every_percentage(repository, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(capsys, tmp_path / "empty", "deploy", "--fail-increase", "1000%")[0] == 3


def test_what_could_not_be_read_is_in_the_sentence(repository, capsys):
    (repository / "deploy" / "bad.yaml").write_text(manifest("bad", "nginx", cpu="1x"))
    code, out, _ = run(capsys, "main:deploy/", "deploy/", "--format", "markdown")
    assert code == 1
    (sentence,) = [line for line in out.splitlines() if line.startswith("**This change adds")]
    assert "Incomplete: 1 object could not be read" in sentence


def test_errors_in_objects_win(repository, capsys):
    (repository / "deploy" / "odd.yaml").write_text(manifest("odd", "nginx", memory="1x"))
    code, out, said = run(capsys, "main", "deploy", "--fail-increase", "1%", "--format", "markdown")
    assert code == 1
    assert "is not a quantity" in said
    assert "could not be read" in out


def test_markdown_is_empty_when_nothing_changed(repository, capsys):
    subprocess.run(["git", "checkout", "-q", "."], cwd=repository, check=True)
    code, out, _ = run(capsys, "main", "deploy", "--format", "markdown")
    assert (code, out) == (0, "")
    assert "No workload changes what it draws." in run(capsys, "main", "deploy")[1]


def test_standard_input_is_a_side(repository, monkeypatch, capsys):
    rendered = manifest("web", "nginx:1.27", replicas=6) + "---\n" + manifest("db", "postgres:16")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rendered.encode())))
    code, out, _ = run(capsys, "main:deploy", "-", "--format", "csv")
    assert code == 0
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["what changes"] == "replicas 2 -> 6"


@pytest.fixture
def requested(tmp_path, monkeypatch):
    """Paths that a Kubernetes API without objects was asked for."""
    paths = []

    def respond(request):
        paths.append(request.target)
        return Response(status=404)

    with serving(respond) as address:
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", address)))
        yield paths


def test_the_names_of_a_manifest_lead_to_no_other_object_of_the_cluster(requested, repository, capsys):
    """A pull request would choose what is read with the credentials of its reviewer."""
    secret = "../../../../../api/v1/namespaces/kube-system/secrets/token"
    documents = [manifest(f'"{secret}"', "nginx"), manifest("web", "nginx").replace("shop", f'"{secret}"')]
    (repository / "deploy" / "evil.yaml").write_text("---\n".join(documents))
    code, out, _ = run(capsys, "--live", "deploy/", "--format", "json")
    assert code == 0
    assert len(json.loads(out)["changes"]) == 4
    assert sorted(requested) == [f"/apis/apps/v1/namespaces/shop/deployments/{name}" for name in ("db", "web")]


def test_the_number_of_sides_is_checked(repository, capsys):
    assert run(capsys, "deploy")[0] == 2
    assert run(capsys, "deploy", "deploy", "--live")[0] == 2


@pytest.mark.parametrize("old", ["origin/main", "origin/main:deploy/"])
def test_a_commit_that_was_not_fetched_is_named_with_what_fetches_it(old, repository, capsys):
    code, _, said = run(capsys, old, "deploy/")
    assert code == 1
    assert "no commit origin/main in the git repository" in said
    assert "git fetch" in said
    assert "fetch-depth: 0" in said


def test_a_ref_outside_a_git_repository_is_explained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "web.yaml").write_text(manifest("web", "nginx:1.27"))
    code, _, said = run(capsys, "main", "web.yaml")
    assert code == 1
    assert "main: no such file or folder" in said
    assert f"{tmp_path} is in no git repository" in said
