"""Back up and restore, by the commands of docs/how-to/kubernetes/operate.md without `kubectl exec`."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import kubernetes_validate
import yaml
from dagster._core.utils import make_new_run_id

from tests.helm.charts import CHART, find, rendered
from tests.helm.pod_security import violations
from tests.postgres import postgres_binaries, serving_postgres

PAGE = (CHART.parents[1] / "docs/how-to/kubernetes/operate.md").read_text()


def command(start):
    """The part behind `--` of the command of the page that begins with this."""
    [found] = re.findall(rf"^kubectl .* -- ({start} .*)$", PAGE, flags=re.MULTILINE)
    return found


def test_the_pod_that_unpacks_a_backup_keeps_to_pod_security_restricted_and_mounts_the_claim():
    [text] = re.findall(r"^```yaml\n(apiVersion: v1\nkind: Pod\n.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
    pod = yaml.safe_load(text)
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert violations(pod) == []
    objects = rendered(name="podpower")
    platform = find(objects, "Deployment", "-platform")["spec"]["template"]["spec"]
    assert pod["spec"]["securityContext"] == platform["securityContext"]
    [volume] = pod["spec"]["volumes"]
    assert (
        volume["persistentVolumeClaim"]["claimName"] == find(objects, "PersistentVolumeClaim", "")["metadata"]["name"]
    )
    [container] = pod["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]


def opened(url, folder):
    environment = {**os.environ, "DAGSTER_HOME": str(folder), "PODPOWER_POSTGRES_URL": url}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "podpower_assets.migrate"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    os.environ["PODPOWER_POSTGRES_URL"] = url
    return dg.DagsterInstance.from_config(str(folder))


def test_a_backup_brings_back_runs_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PODPOWER_POSTGRES_URL", "")
    folder = tmp_path / "home"
    folder.mkdir()
    text = find(rendered(), "ConfigMap", "-dagster")["data"]["dagster.yaml"].replace("/data/", f"{tmp_path}/data/")
    (folder / "dagster.yaml").write_text(text)
    data = tmp_path / "data"
    # Without `clusters`, which only several of them have, and with what a file system has in its root.
    for name in ("journal", "models", "tables", "lost+found", "dagster"):
        (data / name).mkdir(parents=True, exist_ok=True)
        (data / name / "file").write_text(name)
    with serving_postgres() as url:
        admin = urlsplit(url)
        binaries = postgres_binaries()
        at = {
            **os.environ,
            "PGHOST": str(admin.hostname),
            "PGPORT": str(admin.port),
            "PATH": f"{binaries}:{os.environ['PATH']}",
        }

        def shell(line):
            subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=at, check=True)

        shell("createdb -U dagster dagster")
        history = f"postgresql://dagster@{admin.hostname}:{admin.port}/dagster"
        run_id = make_new_run_id()
        with opened(history, folder) as instance:
            instance.add_run(dg.DagsterRun(job_name="kept", run_id=run_id))
        shell(command("pg_dump"))
        shell(command("tar -C /data -c").replace("/data", str(data)))
        shell("dropdb -U dagster --force dagster; createdb -U dagster dagster")
        with opened(history, folder) as instance:  # an empty installation
            assert instance.get_run_by_id(run_id) is None
        shell(command("pg_restore"))
        with opened(history, folder) as instance:
            assert instance.get_run_by_id(run_id).job_name == "kept"
    restored = tmp_path / "restored"
    restored.mkdir()
    line = command("tar -C /data -x").replace("/data", str(restored))
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, check=True)
    assert {path.name: Path(path, "file").read_text() for path in restored.iterdir()} == {
        name: name for name in ("journal", "models", "tables")
    }
