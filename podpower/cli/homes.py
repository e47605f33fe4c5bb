"""Places below one home for `demo` and `up`, passed to the processes they start through the environment."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from podpower.io.locks import lock
from podpower.settings import (
    CLUSTERS,
    DAGSTER_HOME,
    DEFAULT_HOME,
    HOME,
    MODEL_STORE,
    POSTGRES_URL,
    PROMETHEUS_URL,
    RECORDING,
)

UP_LOCK = "up.lock"  # in DAGSTER_HOME, held while `up` runs
_NO_COLOR = "NO_COLOR"
# How long Dagster waits for its code server. With its 60 s, a run that was slow to start on a busy machine is reported
# failed and retried while it runs.
_CALL_SECONDS, _LONGEST_CALL = "DAGSTER_GRPC_TIMEOUT_SECONDS", "300"
_SETTINGS = Path(__file__).with_name("dagster.yaml")  # in a checkout a link to the one at its top
# Dagster's own storages, which remember the states of checks. Dagster reads the place from the environment: the file is
# the same in every folder, and the URL, which holds a password, is in no file.
_STORAGE = """
storage:
  custom:
    module: podpower_assets.storage.{name}
    class: {name_of_class}
    config:
      {key}: {{env: {variable}}}
"""
_ON_SQLITE = _STORAGE.format(name="sqlite", name_of_class="SqliteStorage", key="base_dir", variable=DAGSTER_HOME)
_ON_POSTGRES = _STORAGE.format(
    name="postgres", name_of_class="PostgresStorage", key="postgres_url", variable=POSTGRES_URL
)
# First lines of the settings that podpower writes: it replaces these by newer ones, and leaves any others alone.
_OURS = (
    "# Settings of Dagster for podpower, replaced by newer ones at each start: remove this line to keep your changes.",
    "# Settings of the Dagster instance: what holds on a laptop. History lies in DAGSTER_HOME.",  # before 2026-08
)
_FIRST = "telemetry:\n  enabled: false\n"  # all that the first `up` wrote


@dataclass(frozen=True, kw_only=True)
class Home:
    """A home at `root`, a folder or URL, and the local folder of Dagster's history, logs and simulated recordings."""

    root: str
    local: Path

    def below(self, name: str) -> str:
        """Return a place in the home."""
        return f"{self.root}/{name}"


def home_at(given: str) -> Home:
    """Return the home at a folder or URL. InvalidInput for an unknown scheme, Unavailable without its package."""
    from podpower.io.places import is_url, local_folder, place  # noqa: PLC0415

    if is_url(given):
        place(given)
        return Home(root=given.rstrip("/"), local=Path(DEFAULT_HOME).resolve())
    folder = local_folder(given, what="a home").resolve()
    return Home(root=str(folder), local=folder)


def home_environment(
    home: Home, environment: Mapping[str, str], *, note: Callable[[str], None] = lambda _message: None
) -> dict[str, str]:
    """Return `environment` with everything in the home (made here) that it does not place elsewhere itself."""
    dagster_home = Path(environment.get(DAGSTER_HOME) or home.local / "dagster")
    dagster_home.mkdir(parents=True, exist_ok=True)
    on_postgres = bool(environment.get(POSTGRES_URL))
    _write_settings(dagster_home / "dagster.yaml", on_postgres=on_postgres, note=note)
    live = bool(environment.get(PROMETHEUS_URL))
    recording = home.below("journal") if live else str(home.local / "recording")
    return {
        **({} if environment.get(CLUSTERS) else {RECORDING: recording}),  # a file of clusters has places of its own
        MODEL_STORE: home.below("models"),
        _NO_COLOR: "1",  # logs are read in files
        _CALL_SECONDS: _LONGEST_CALL,
        **{name: value for name, value in environment.items() if value},
        HOME: home.root,
        DAGSTER_HOME: str(dagster_home),
    }


def alone_at(home: Home) -> AbstractContextManager[object]:
    """Refuse to run beside `podpower up` on the same home, and let none start meanwhile. Unavailable where one runs."""
    folder = Path(home.local / "dagster")
    if not folder.is_dir():
        return contextlib.nullcontext()
    return lock(folder / UP_LOCK, busy=f"`podpower up` or another purge runs on {home.local}: stop it first")


def _write_settings(path: Path, *, on_postgres: bool, note: Callable[[str], None]) -> None:
    """Write Dagster's settings, also over older ones of podpower, which are kept beside them."""
    wanted = _SETTINGS.read_text() + (_ON_POSTGRES if on_postgres else _ON_SQLITE)
    present = path.read_text() if path.exists() else None
    if present == wanted:
        return
    if present is not None:
        if not present.startswith(_OURS) and present != _FIRST:
            note(f"{path} has settings of your own: compare them with podpower's, or remove the file to get those")
            return
        shutil.copy(path, path.with_suffix(".yaml.before"))
        note(f"{path} has the settings of this version; the former ones are kept in {path.name}.before")
    path.write_text(wanted)
