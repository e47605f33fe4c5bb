"""At most 30 runs an hour, also where every hour has gaps: two days of the sensors on a simulated clock."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from podpower.hours import DAY_S, HOUR_S, start_of_hour
from podpower.settings import AssetSettings
from podpower_assets.fleet.sensors import EVERY_S as FLEET_EVERY_S
from podpower_assets.labels.schedules import HOURLY_ASSETS
from podpower_assets.partitions import hour_key, hour_start_s, hours_between
from podpower_assets.policies import LATE_WAITS_S, LATER_MODEL_EVERY_S
from podpower_assets.resources import Source, Tables
from podpower_assets.specs import sensors
from podpower_assets.specs.pending import Pending
from podpower_assets.versions import BEGAN, INCOMPLETE

MOST_RUNS, LIFE_S = 30, 2 * DAY_S
STEADY_S = 46 * HOUR_S  # from then on each minute is simulated: hours wait for each of their waits
SCHEDULED_S = 420.0  # `kepler_labels_hourly`, after the end of its hour
FLEET_RUNS = int(HOUR_S / FLEET_EVERY_S)
DAILY = 2  # in the first hour of a day: the model and the evaluation of the day before


class Life:
    """A cluster in which workloads change all the time, and whose hours never have all of their samples. Runs that are
    requested are made at once.
    """

    def __init__(self, instance: dg.DagsterInstance, place: Path, *, start_s: float) -> None:
        self.instance, self.now_s, self.cursor = instance, start_s, ""
        self.runs: Counter[str] = Counter()  # by hour
        self.remade: Counter[str] = Counter()  # by hour that was made again after its end
        self.places = {"source": Source(recording=str(place)), "tables": Tables(root=str(place))}
        self.sensor = sensors.workload_changes(AssetSettings())
        self.scheduled: set[str] = set()
        instance.report_runless_asset_event(dg.AssetMaterialization("encoder"))

    def tick(self) -> None:
        """Let the schedule and the sensor look once, and make what they request."""
        last = hour_key(self.now_s - HOUR_S)
        if self.now_s % HOUR_S >= SCHEDULED_S and last not in self.scheduled:
            self.scheduled.add(last)
            self.make([last])
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor or None, resources=self.places)
        found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor or ""
        for request in found.run_requests or ():
            first, end = (request.tags[f"dagster/asset_partition_range_{one}"] for one in ("start", "end"))
            hours = hours_between(hour_start_s(first), hour_start_s(end) + 1)
            self.make(hours)
            self.remade.update(hour for hour in hours if hour <= last)

    def make(self, hours: Sequence[str]) -> None:
        self.runs[hour_key(self.now_s)] += 1
        metadata = {BEGAN: dg.MetadataValue.float(self.now_s), INCOMPLETE: "60 minutes"}
        for hour in hours:
            for name in HOURLY_ASSETS:
                made = dg.AssetMaterialization(name, partition=hour, metadata=metadata)
                self.instance.report_runless_asset_event(made)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as empty:
        yield empty


@pytest.mark.parametrize("new_specs", [False, True], ids=["known workloads", "new workloads all the time"])
def test_a_cluster_whose_hours_all_have_gaps_stays_within_its_runs(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_specs: bool
) -> None:
    def change(_context: object, pending: Pending, *_places: object) -> tuple[str, bool]:
        pending.source = "journal"
        pending.mark([hour_key(life.now_s)], now_s=life.now_s, new_specs=new_specs)
        return "", True

    start_s = start_of_hour(time.time()) - LIFE_S
    life = Life(instance, tmp_path, start_s=start_s)
    monkeypatch.setattr(time, "time", lambda: life.now_s)
    monkeypatch.setattr(sensors, "_look", change)
    while life.now_s < start_s + LIFE_S:
        life.tick()
        life.now_s += 60.0 if life.now_s >= start_s + STEADY_S else 600.0

    steady = [life.runs[hour] for hour in hours_between(start_s + STEADY_S, start_s + LIFE_S)]
    running = 11 if new_specs else 6
    models = running if new_specs else HOUR_S / LATER_MODEL_EVERY_S  # as `test_automation` counts them
    assert max(steady) <= running + 2  # that of the schedule, and that of late labels
    assert max(steady) + models + FLEET_RUNS + DAILY <= MOST_RUNS
    settled = hours_between(start_s, start_s + 8 * HOUR_S)
    assert {life.remade[hour] for hour in settled} == {len(LATE_WAITS_S)}
