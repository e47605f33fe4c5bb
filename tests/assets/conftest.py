"""A simulated cluster of two and a half hours, and places for what is made of it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from podpower.settings import AssetSettings, Settings
from podpower.simulation import simulate
from podpower_assets.definitions import assets, definitions
from podpower_assets.partitions import Partitions, hours_between
from podpower_assets.resources import Models, Source, Tables

START_S = 1767258000.0  # 2026-01-01T09:00:00Z
HOURS = hours_between(START_S, START_S + 2 * 3600)
DAY = "2026-01-01"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # events are in the instance
ASSETS, PARTITIONS = assets(AssetSettings()), Partitions.of(AssetSettings())
DEFS = definitions(Settings({"PODPOWER_PARTITIONS_START": "2025-01-01-00:00"}))


class Place:
    """A Dagster instance with the resources of one home."""

    def __init__(self, instance: dg.DagsterInstance, recording: Path, home: Path) -> None:
        self.instance = instance
        self.source = Source(recording=str(recording))
        self.tables = Tables(root=str(home / "tables"))
        self.models = Models(root=str(home / "models"))

    @property
    def resources(self) -> dict[str, dg.ConfigurableResource]:
        return {"source": self.source, "tables": self.tables, "models": self.models}

    def materialize(self, *names: str, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        """One run of some assets over a range of partitions."""
        return dg.materialize(
            ASSETS,
            selection=[dg.AssetKey(name) for name in names],
            instance=self.instance,
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first},
            resources=self.resources,
            raise_on_error=False,
            run_config=QUIET,
        )


HOURLY = ("workload_specs", "encoder", "features", "kepler_labels", "job_labels", "training_rows")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there yet is tried again at once."""
    monkeypatch.setattr("podpower_assets.policies._RETRY_SECONDS", 0)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("simulated") / "recording"
    simulate(root, seed=3, start_s=START_S, hours=2, workloads=14)
    return root


@pytest.fixture
def place(recording: Path, tmp_path: Path) -> Iterator[Place]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Place(instance, recording, tmp_path)


@pytest.fixture(scope="module")
def made(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everything materialized, and a model promoted."""
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, recording, tmp_path_factory.mktemp("made"))
        assert place.materialize(*HOURLY, first=HOURS[0], last=HOURS[-1]).success
        assert place.materialize("knn_model", "promoted_model", first=DAY).success
        yield place
