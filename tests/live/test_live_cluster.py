"""`make up` as a user sees it: the UI's lineage, a changed workload, and the model that follows without a restart."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podpower.simulation import change_workload
from tests.live.lineage import read_lineage
from tests.live.platforms import Platform, up

FIVE = ["workload_specs", "features", "kepler_labels", "training_rows", "knn_model"]

pytestmark = [pytest.mark.timeout(2000), pytest.mark.xdist_group("live")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with up(tmp_path_factory.mktemp("home")) as platform:
        yield platform


@pytest.fixture(scope="module")
def first_model(running: Platform) -> dict[str, Any]:
    """The model of the past hours: nobody asked for it, the sensors did."""
    return running.until("first model", running.model, seconds=600)


def test_five_assets_are_connected_in_the_ui(running: Platform, first_model: dict[str, Any], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1":
            pytest.fail("PODPOWER_REQUIRE_SERVICES=1, but there is no chromium on the PATH")
        pytest.skip("no chromium on the PATH")
    picture = os.environ.get("PODPOWER_LINEAGE_PICTURE") or str(tmp_path / "lineage.png")

    lineage = read_lineage(running.dagster_url, chromium=chromium, names=[*FIVE, "encoder"], picture=picture)

    assert lineage.assets >= set(FIVE)
    assert lineage.edges >= {
        ("workload_specs", "features"),
        ("workload_specs", "kepler_labels"),
        ("features", "training_rows"),
        ("kepler_labels", "training_rows"),
        ("training_rows", "knn_model"),
    }


def test_a_changed_workload_reaches_the_served_model(running: Platform, first_model: dict[str, Any]) -> None:
    change_workload(running.recording, namespace="shop", kind="Deployment", name="frontend", image="nginx:9.9")

    newer = running.model_after(first_model["version"], seconds=600)

    assert newer["trained_at"] > first_model["trained_at"]


def test_a_second_up_on_the_same_home_is_refused(running: Platform) -> None:
    log = running.home / "up.log"
    running.until("start", lambda: "waiting for the Dagster definitions" in log.read_text() or None, seconds=120)
    with up(running.home) as second:
        assert second.process.wait(timeout=120) == 1
    assert "another `podpower up` uses" in log.read_text()
    assert running.process.poll() is None
