"""Places below one home for `demo` and `up`, passed to the processes they start through the environment."""

from collections.abc import Mapping
from pathlib import Path

from podpower.settings import DAGSTER_HOME, HOME, MODEL_STORE, PROMETHEUS_URL, RECORDING

_NO_COLOR = "NO_COLOR"
_SETTINGS = Path("dagster.yaml")  # the checkout's; an installed package has none beside it
_DAGSTER_SETTINGS = "telemetry:\n  enabled: false\n"


def home_environment(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with every place below `home`, which is made here, unless it is set already."""
    dagster_home = Path(environment.get(DAGSTER_HOME) or home / "dagster")
    dagster_home.mkdir(parents=True, exist_ok=True)
    settings = dagster_home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_SETTINGS.read_text() if _SETTINGS.exists() else _DAGSTER_SETTINGS)
    return {
        RECORDING: str(home / ("journal" if environment.get(PROMETHEUS_URL) else "recording")),
        MODEL_STORE: str(home / "models"),
        _NO_COLOR: "1",  # logs are read in files
        **{name: value for name, value in environment.items() if value},
        HOME: str(home),
        DAGSTER_HOME: str(dagster_home),
    }
