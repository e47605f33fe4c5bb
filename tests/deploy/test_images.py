"""What deploy/Dockerfile installs, in an empty prefix: its RUN and COPY instructions are carried out, not repeated.

uv takes pip's place, with its cache and hard links. Entry points run as another user, who can write nothing of it.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from podpower.registry.store import ModelStore
from tests.deploy.dockerfile import PREFIX, STAGES, TEXT
from tests.helm.charts import MATRIX, containers, pods, rendered
from tests.waiting import until

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = 10001


def base_python():
    """A Python that other users can run, as that of an image; else the one of this environment."""
    for path in (Path("/usr/local/bin/python3"), Path("/usr/bin/python3")):
        code = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
        if path.exists() and subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return Path(sys.base_prefix) / "bin" / "python3"


PYTHON = base_python()


def ignored(path):
    """True for a path that .dockerignore keeps out of the build."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return path not in allowed


def built(target, folder):
    """Carry out the stage whose prefix the target copies; return the prefix."""
    [source] = re.findall(rf"COPY --from=(\S+) {PREFIX} {PREFIX}", "\n".join(STAGES[target]))
    src, prefix = folder / "src", folder / "podpower"
    for instruction in STAGES[source]:
        verb, _, rest = instruction.partition(" ")
        if verb == "COPY":
            *files, to = rest.split()
            for name in files:
                assert not ignored(name), name
                into = folder / to.lstrip("/")
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, into, symlinks=True)
                else:
                    into.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, into)
        elif verb == "RUN" and "groupadd" not in rest:
            run(rest, src, prefix)
    return prefix


def run(command, src, prefix):
    command = command.replace("python -m venv", f"{shlex.quote(str(PYTHON))} -m venv")
    command = command.replace(PREFIX, str(prefix)).replace("/src", str(src))
    fast = command.replace("python -m pip --python", "uv pip --python").replace("--no-cache-dir --no-compile", "-q")
    uv = Path(sys.executable).with_name("uv")
    done = shell(re.sub(r"uv pip --python (\S+) install", rf"{uv} pip install --python \1 --link-mode hardlink", fast))
    if done.returncode and fast != command:  # uv does not read pip's settings, such as another package index
        done = shell(command.replace("python -m pip", f"{shlex.quote(sys.executable)} -m pip"))
    unreachable = "could not find a version" in done.stderr.lower()
    if unreachable and not os.environ.get("PODPOWER_REQUIRE_SERVICES"):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-2000:]


def shell(command):
    return subprocess.run(["bash", "-o", "pipefail", "-ec", command], capture_output=True, text=True, check=False)


def image(target):
    with tempfile.TemporaryDirectory(prefix=f"image-{target}-") as folder:
        os.chmod(folder, 0o755)
        yield built(target, Path(folder))


@pytest.fixture(scope="module")
def serving():
    yield from image("serving")


@pytest.fixture(scope="module")
def platform():
    yield from image("platform")


def packages(prefix):
    [found] = prefix.glob("lib/python3*/site-packages")
    return found


def size_mb(folder):
    blocks = {(s.st_dev, s.st_ino): s.st_blocks for s in (path.lstat() for path in folder.rglob("*"))}
    return sum(blocks.values()) * 512 / 1e6


def as_another(prefix, *command, **options):
    """Run a command of the image as a user who owns nothing of it."""
    environment = {"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= options.pop("environment", {})
    if os.geteuid() == 0 and PYTHON.is_relative_to("/usr"):
        options |= {"user": UNPRIVILEGED, "group": UNPRIVILEGED}
    return subprocess.Popen(
        [prefix / "bin" / command[0], *command[1:]], env=environment, cwd="/", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def test_serving_is_small_and_has_neither_dagster_nor_a_compiler(serving):
    assert size_mb(packages(serving)) < 225
    names = {path.name for path in packages(serving).iterdir()}
    assert not names & {"dagster", "polars", "pandas", "pyarrow", "torch", "sklearn", "scipy", "kubernetes", "pip"}
    assert "pip" not in {path.name for path in (serving / "bin").iterdir()}


def test_serving_serves_a_model_as_another_user(serving, tmp_path, pair):
    store = ModelStore(tempfile.mkdtemp(prefix="models-"))
    store.promote(store.add(*pair))
    subprocess.run(["chmod", "-R", "a+rX", str(store.root)], check=True)
    environment = {"PODPOWER_MODEL_STORE": str(store.root)}
    process = as_another(serving, "podpower", "serve", "--port", "0", environment=environment)
    try:
        output = ""
        while not (found := re.search(r"listening on (http://\S+)\s", output)):
            output += (line := process.stdout.readline())
            assert line, output
        url = found[1]
        until(lambda: httpx.get(f"{url}/readyz", timeout=30).status_code == 200, every_s=0.2)
        template = {"spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}
        manifest = json.dumps({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template},
        })  # fmt: skip
        headers = {"Content-Type": "application/yaml"}
        answer = httpx.post(f"{url}/predict/from-yaml", content=manifest, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["pred_avg_power_w"] > 0
        assert httpx.get(f"{url}/docs").status_code == 200
        assert b"swagger" in httpx.get(f"{url}/docs").content.lower()
    finally:
        process.terminate()
        process.communicate(timeout=30)
        shutil.rmtree(store.root)
    assert process.returncode == 0


def test_the_platform_has_everything_but_torch_and_is_small_enough(platform):
    assert size_mb(packages(platform)) < 1100
    names = {path.name for path in packages(platform).iterdir()}
    assert names >= {"dagster", "dagster_k8s", "dagster_postgres", "s3fs", "gcsfs", "adlfs", "cryptography"}
    assert not names & {"torch", "sentence_transformers", "pip"}


def test_the_platform_loads_its_definitions_as_another_user(platform):
    modules = ("definitions", "pods", "compute_logs", "migrate", "daemon")
    code = "; ".join(f"import podpower_assets.{module}" for module in modules)
    process = as_another(platform, "python", "-c", code)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


def test_the_platform_opens_every_url_that_the_chart_takes(platform):
    """Without a server behind it: packages are imported and clients made."""
    code = "from podpower.io.places import place; print([place(url).fs.protocol for url in URLS])"
    urls = ["s3://bucket/podpower", "gs://bucket/podpower", "az://container/podpower"]
    access = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9", "AZURE_STORAGE_ACCOUNT_NAME": "account"}
    process = as_another(platform, "python", "-c", code.replace("URLS", str(urls)), environment=access)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert all(f"'{url.partition(':')[0]}'" in output for url in urls), output


def test_every_package_of_an_image_has_the_pinned_version(serving, platform):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical(line) for line in lines if "==" in line}
    for prefix in (serving, platform):
        found = metadata.distributions(path=[str(packages(prefix))])
        installed = {canonical(f"{one.name}=={one.version}") for one in found if one.name != "podpower"}
        assert installed - pinned == set()


def canonical(pin):
    name, _, version = pin.partition("==")
    return re.sub(r"[-_.]+", "-", name).lower(), version


def test_every_command_of_the_chart_is_in_its_image(serving, platform):
    checked = set()
    for values in MATRIX.values():
        for _, template in pods(rendered(values)):
            for container in containers(template):
                image = next((one for one in ("serving", "platform") if f"podpower-{one}" in container["image"]), None)
                if image:
                    prefix = {"serving": serving, "platform": platform}[image]
                    assert (prefix / "bin" / container["command"][0]).exists(), container["name"]
                    checked.add((image, container["command"][0]))
    assert {("serving", "podpower"), ("platform", "dagster"), ("platform", "dagster-webserver")} <= checked


def test_the_images_are_labelled_and_run_as_no_root():
    for target in ("serving", "platform", "sbert"):
        text = "\n".join(STAGES[target])
        assert "USER 10001:10001" in text
        assert "org.opencontainers.image.version" in text
    assert re.search(r"^ARG BASE=[\w.-]+:[\w.-]+$", TEXT, flags=re.MULTILINE), "no host, and another by --build-arg"
    assert "sentence" not in "".join(STAGES["platform"])
    assert "[sbert]" in "".join(STAGES["build-sbert"])
