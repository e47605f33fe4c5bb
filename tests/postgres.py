"""A PostgreSQL server for tests: the real one, on a Unix socket's folder and a free port of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpower.cli.ports import free_port


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL; Debian keeps it off the PATH."""
    if found := shutil.which("postgres"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return versions[-1].parent if versions else None


@contextlib.contextmanager
def serving_postgres() -> Iterator[str]:
    """Serve PostgreSQL; give the URL of an empty database. Skips, or fails where services are required, without it."""
    binaries = postgres_binaries()
    if binaries is None:
        if os.environ.get("PODPOWER_REQUIRE_SERVICES"):
            pytest.fail("no postgres binary: install PostgreSQL")
        pytest.skip("no postgres binary on this machine")
    # The server refuses to run as root, for whom Debian has made a user.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres") as folder:
        if user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        initdb = [binaries / "initdb", "-D", data, "-U", "dagster", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **user)
        port = free_port()  # now: another process can take it while the database is made
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [binaries / "pg_ctl", "-D", data, "-w"]
        subprocess.run(
            [*control, "-o", options, "-l", f"{folder}/log", "start"], check=True, stdout=subprocess.DEVNULL,
            cwd=folder, **user,
        )  # fmt: skip
        try:
            yield f"postgresql://dagster@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder, **user)
