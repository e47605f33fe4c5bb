"""Files that build and publish: their linters accept them, and they name no registry."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


def test_hadolint_accepts_the_dockerfile():
    done = subprocess.run(
        [TOOLS / "hadolint", "deploy/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.name)
def test_workflows_are_valid(workflow):
    command = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_names_a_registry():
    files = [ROOT / "deploy" / "Dockerfile", *(ROOT / ".github").rglob("*.yaml"), *(ROOT / "helm").rglob("*.*")]
    text = "".join(path.read_text() for path in files if path.is_file())
    assert not re.findall(r"docker\.io|ghcr\.io|quay\.io|gcr\.io|registry\.k8s\.io|amazonaws\.com", text)


def test_a_release_runs_no_action_that_can_change_and_has_no_permission_that_it_does_not_use():
    workflow = (ROOT / ".github" / "workflows" / "release.yaml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", workflow)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    jobs = yaml.safe_load(workflow)["jobs"]
    granted = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}
    # Trusted publishing wants an identity; images and the chart are pushed with the registry's token.
    assert granted == {"package": {"contents": "read", "id-token": "write"}}
