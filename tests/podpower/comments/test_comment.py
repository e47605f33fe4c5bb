"""`podpower comment` against a fake of each API, and the steps of the Action and of the GitLab template in bash."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from podpower.cli import main
from podpower.comments import http
from podpower.comments.posting import NOTHING
from tests.podpower.cli.shop import manifest
from tests.podpower.comments.forges import TOKEN, Forge

ROOT = Path(__file__).parents[3]
MARK = "<!-- podpower comment: default -->"


@pytest.fixture(params=["github", "gitlab"])
def kind(request):
    return request.param


@pytest.fixture
def forge():
    with Forge() as forge:
        yield forge


@pytest.fixture
def comment(forge, kind, tmp_path, monkeypatch, capsys):
    """Posts a text; returns the exit code and what was printed."""
    monkeypatch.setenv(f"{kind.upper()}_TOKEN", TOKEN)
    number = "--pull-request" if kind == "github" else "--merge-request"

    def run(text, *options):
        path = tmp_path / "comment.md"
        path.write_text(text)
        given = ["--path", str(path), "--repo", "acme/shop", number, "7", "--api-url", forge.url]
        code = main(["comment", kind, *given, *options])
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        assert "Traceback" not in printed.err
        return code, printed.err

    return run


def test_the_first_comment_is_posted_and_the_second_updates_it(comment, forge):
    for place in range(7):  # of people, over several pages
        forge.add(f"looks good {place}")
    assert comment("+5 kWh")[0] == 0
    code, said = comment("+6 kWh")
    assert code == 0
    assert "updated" in said
    assert forge.bodies()[7:] == [f"{MARK}\n+6 kWh"]


def test_new_posts_another_one(comment, forge):
    comment("one")
    comment("two", "--behavior", "new")
    assert [body.splitlines()[1] for body in forge.bodies()] == ["one", "two"]


def test_delete_and_new_leaves_one_and_comments_of_people(comment, forge):
    forge.add("looks good")
    for text in ("one", "two", "three"):
        assert comment(text, "--behavior", "delete-and-new")[0] == 0
    assert forge.bodies() == ["looks good", f"{MARK}\nthree"]


def test_tags_tell_comments_apart(comment, forge):
    comment("prod", "--tag", "prod")
    comment("test", "--tag", "test")
    comment("prod again", "--tag", "prod")
    assert [body.splitlines()[1] for body in forge.bodies()] == ["prod again", "test"]
    code, said = comment("x", "--tag", "a b")
    assert code == 1
    assert "--tag" in said


@pytest.mark.parametrize("behavior", ["update", "new", "delete-and-new"])
def test_when_nothing_changed_an_earlier_comment_says_so_and_no_new_one_is_posted(behavior, comment, forge):
    assert comment("", "--behavior", behavior)[0] == 0
    assert forge.bodies() == []
    comment("+5 kWh")
    assert comment("", "--behavior", behavior)[0] == 0
    assert forge.bodies() == [f"{MARK}\n{NOTHING}"]


def test_a_comment_that_is_too_long_is_cut_at_a_line(comment, forge, kind):
    forge.most = 65_536 if kind == "github" else 1_000_000
    assert comment("| a line of a table |\n" * 60_000)[0] == 0
    (body,) = forge.bodies()
    assert len(body) <= forge.most
    assert body.rstrip().endswith("the rest is cut.)")


def test_a_refusal_that_passes_is_tried_again_after_the_time_it_names(comment, forge):
    forge.fail_next = [(429,), (503,)]
    assert comment("+5 kWh")[0] == 0
    assert len(forge.bodies()) == 1


def test_a_token_that_only_reads_is_one_clear_line(comment, forge):
    forge.may_write = False
    code, said = comment("+5 kWh")
    assert code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "403 (Resource not accessible by integration)" in said
    assert "fork" in said


def test_a_wrong_or_missing_token_is_named(comment, forge, kind, monkeypatch):
    monkeypatch.setenv(f"{kind.upper()}_TOKEN", "wrong")
    code, said = comment("+5 kWh")
    assert code == 1
    assert "missing, wrong or expired" in said
    monkeypatch.delenv(f"{kind.upper()}_TOKEN")
    code, said = comment("+5 kWh")
    assert code == 2
    assert f"{kind.upper()}_TOKEN" in said


def test_a_token_with_other_characters_is_named_and_not_shown(comment, kind, monkeypatch):
    monkeypatch.setenv(f"{kind.upper()}_TOKEN", "hunter2\N{LATIN SMALL LETTER E WITH ACUTE}")
    code, said = comment("+5 kWh")
    assert (code, said.count("\n")) == (1, 1)
    assert f"{kind.upper()}_TOKEN has characters that no token has" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("address", ["http://[::1", "http://host:port", "file:///etc", "https://user:hunter2@host", ""])
def test_what_is_no_address_of_an_api_is_named(address, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(f"{kind.upper()}_TOKEN", TOKEN)
    number = "--pull-request" if kind == "github" else "--merge-request"
    command = ["comment", kind, "--path", str(tmp_path), "--repo", "acme/shop", number, "7", f"--api-url={address} "]
    assert main(command) == 1
    assert "is not the address of an API" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [[1], [{"body": "x"}], [{"id": 1, "body": [1]}], {"id": 1}], ids=str)
def test_an_answer_that_is_no_list_of_comments_is_named(rows, comment, forge, monkeypatch):
    monkeypatch.setattr(Forge, "_page", lambda *_: (200, rows, {}))
    code, said = comment("+5 kWh")
    assert (code, said.count("\n")) == (1, 1)
    assert "does not answer as an API" in said


@pytest.mark.parametrize("number", [True, -5, 0, 1.5, "7", None])
def test_an_event_without_a_number_is_no_pull_request(number, tmp_path, monkeypatch, capsys):
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": number}}))
    for name, value in (("GITHUB_TOKEN", TOKEN), ("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))):
        monkeypatch.setenv(name, value)
    assert main(["comment", "github", "--path", "x", "--repo", "acme/shop"]) == 2
    assert "no pull request: give --pull-request N" in capsys.readouterr().err


def test_a_list_that_continues_elsewhere_gets_no_token(comment, forge, monkeypatch):
    monkeypatch.setattr(Forge, "_page", lambda *_: (200, [], {"Link": '<http://evil.example/x>; rel="next"'}))
    code, said = comment("+5 kWh")
    assert code == 1
    assert "another host, which gets no token" in said


def test_a_list_that_does_not_end_is_named_with_what_to_do(comment, forge, monkeypatch):
    monkeypatch.setattr(http, "_MOST_PAGES", 2)
    for place in range(7):
        forge.add(f"looks good {place}")
    code, said = comment("+5 kWh")
    assert code == 1
    assert "more than 2 pages" in said
    assert len(forge.bodies()) == 7
    assert comment("+5 kWh", "--behavior", "new")[0] == 0  # needs no list
    assert forge.bodies()[7:] == [f"{MARK}\n+5 kWh"]


def test_an_answer_that_is_too_large_is_not_read_to_its_end(comment, forge, monkeypatch):
    monkeypatch.setattr(http, "_MOST_BYTES", 100_000)
    forge.add("x" * 200_000)
    code, said = comment("+5 kWh")
    assert code == 1
    assert "answers with more than 100,000 bytes" in said
    assert said.count("\n") == 1


def test_github_hides_earlier_comments_by_graphql(forge, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    forge.add(f"{MARK}\nold")
    node = forge.comments[0]["node_id"]
    (tmp_path / "c.md").write_text("new")
    given = ["--path", str(tmp_path / "c.md"), "--repo", "acme/shop", "--pull-request", "7", "--api-url", forge.url]
    assert main(["comment", "github", *given, "--behavior", "hide-and-new"]) == 0
    assert forge.hidden == [node]
    assert len(forge.bodies()) == 2
    assert main(["comment", "gitlab", "--path", "x", "--behavior", "hide-and-new"]) == 2


@pytest.fixture
def pull_request(tmp_path):
    """A repository with a change of one manifest, and the environment of a run."""
    root = tmp_path / "repo"
    (root / "deploy").mkdir(parents=True)
    (root / "deploy" / "web.yaml").write_text(manifest("web", "nginx:1.27"))
    for command in ("init -q -b main", "add -A", "-c user.email=a@b -c user.name=a commit -q -m one"):
        subprocess.run(["git", *command.split()], cwd=root, check=True)
    base = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
    (root / "deploy" / "web.yaml").write_text(manifest("web", "nginx:1.27", replicas=6))
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PODPOWER_HOME": str(tmp_path / "home"),
        "RUNNER_TEMP": str(tmp_path),
    }
    return root, base.strip(), environment


def bash(script, *, cwd, environment):
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def run_action(root, base, environment, forge, **inputs):
    """Run the steps of action.yml as the runner does; return the exit code of the last one."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    given |= {"path": "deploy/", "install": "none", "token": TOKEN, "base": base} | inputs
    outputs: dict[str, str] = {}
    file, paths = Path(environment["RUNNER_TEMP"]) / "outputs", Path(environment["RUNNER_TEMP"]) / "paths"
    paths.write_text("")
    for step in action["runs"]["steps"]:
        if step.get("if") == "inputs.install != 'none'" and given["install"] == "none":
            continue
        own = {}
        for name, value in step.get("env", {}).items():
            expression = value.removeprefix("${{ ").removesuffix(" }}").partition(" || ")[0]
            scope, _, field = expression.rpartition(".")
            own[name] = given[field] if scope == "inputs" else outputs[field]
        file.write_text("")
        added = ":".join(paths.read_text().splitlines())
        run = {
            **environment, **own, "PATH": f"{added}:{environment['PATH']}", "GITHUB_PATH": str(paths),
            "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(file), "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_API_URL": forge.url, "GITHUB_EVENT_PATH": str(Path(environment["RUNNER_TEMP"]) / "event.json"),
            "GITHUB_STEP_SUMMARY": str(Path(environment["RUNNER_TEMP"]) / "summary.md"),
        }  # fmt: skip
        done = bash(step["run"], cwd=root, environment=run)
        outputs |= dict(line.split("=", 1) for line in file.read_text().splitlines())
        if done.returncode:
            return done.returncode, done.stderr
    return 0, ""


def test_the_steps_of_the_action_post_a_comment(pull_request, forge):
    assert run_action(*pull_request, forge)[0] == 0
    (body,) = forge.bodies()
    assert "**This change adds" in body.replace("\\", "")
    assert "`shop/web`" in body
    assert (Path(pull_request[2]["RUNNER_TEMP"]) / "summary.md").read_text() in body


def test_the_action_installs_the_podpower_that_it_is_part_of(pull_request, forge):
    root, base, environment = pull_request
    environment = environment | {"PATH": "/usr/local/bin:/usr/bin:/bin"} | {
        name: value for name, value in os.environ.items() if name.startswith("PIP_")
    }  # fmt: skip
    if shutil.which("podpower", path=environment["PATH"]) or not usable_python(environment["PATH"]):
        pytest.skip("there is no Python 3.11 outside of this environment")
    code, said = run_action(root, base, environment, forge, install="")
    if "No matching distribution" in said:
        reason = "there is no package index"
        (pytest.fail if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1" else pytest.skip)(reason)
    assert code == 0, said
    assert len(forge.bodies()) == 1
    installed = Path(environment["RUNNER_TEMP"]) / "podpower" / "bin" / "podpower"
    assert installed.exists()


def usable_python(path):
    code = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    program = shutil.which("python3", path=path)
    return program and subprocess.run([program, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_action_posts_before_it_fails_above_a_threshold(pull_request, forge):
    assert run_action(*pull_request, forge, **{"fail-increase": "5%"})[0] == 3
    assert len(forge.bodies()) == 1


def test_the_action_updates_the_comment_when_nothing_is_left_of_the_change(pull_request, forge):
    root = pull_request[0]
    assert run_action(*pull_request, forge)[0] == 0
    subprocess.run(["git", "checkout", "-q", "."], cwd=root, check=True)
    assert run_action(*pull_request, forge)[0] == 0
    assert forge.bodies() == [f"{MARK}\n{NOTHING}"]


def test_the_script_of_the_gitlab_template_posts_a_note_and_fails_above_a_threshold(pull_request, forge):
    root, base, environment = pull_request
    job = gitlab_job()
    environment = environment | job["variables"] | {
        "PODPOWER_DIFF_OPTIONS": "--price 0.30 --fail-increase 5%", "GITLAB_TOKEN": TOKEN,
        "CI_API_V4_URL": forge.url, "CI_PROJECT_ID": "acme/shop", "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
    }  # fmt: skip
    done = bash("\n".join([*job["before_script"], *job["script"]]), cwd=root, environment=environment)
    assert done.returncode == 3, done.stderr
    (body,) = forge.bodies()
    assert "EUR" in body


def test_the_gitlab_template_names_what_to_set_where_the_image_has_no_podpower(tmp_path):
    job = gitlab_job()
    assert not job["variables"]["PODPOWER_INSTALL"]
    environment = {"PATH": str(tmp_path), **job["variables"]}
    for program in ("bash", "git"):
        (tmp_path / program).symlink_to(shutil.which(program))
    done = bash("\n".join([*job["before_script"], *job["script"]]), cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert "set PODPOWER_INSTALL" in done.stderr


def gitlab_job():
    return yaml.safe_load((ROOT / "deploy/ci/podpower.gitlab-ci.yml").read_text())[".podpower"]
