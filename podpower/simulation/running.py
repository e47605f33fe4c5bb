"""Writing the simulated cluster as a recording: at once, or minute by minute as time passes."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl

from podpower.errors import InvalidInput
from podpower.hours import HOUR_S, hour_name, start_of_hour
from podpower.io.files import write_atomically
from podpower.io.places import local_folder
from podpower.simulation import objects
from podpower.simulation.cluster import MINUTE_S, Cluster
from podpower.simulation.counters import Exporters
from podpower.simulation.workloads import Workload
from podpower.sources.protocols import ObjectEvent
from podpower.sources.recording import Meta, read_meta
from podpower.sources.writing import RecordingWriter

INBOX, APPLIED = "inbox", "applied.ndjson"
KEPLERS = ("0.9", "0.10")
Progress = Callable[[int, int], None]


class Change(msgspec.Struct, kw_only=True):
    """A requested rollout. `minute` is when it was applied (Unix seconds; None: not yet)."""

    namespace: str
    kind: str
    name: str
    image: str | None = None
    cpu_mcpu: int | None = None
    minute: float | None = None


class Simulation:
    """A cluster and its exporters, and the recording they are written to."""

    def __init__(self, root: Path, meta: Meta) -> None:
        self.root, self.meta = root, meta
        self._writer = RecordingWriter(root)
        self._cluster = Cluster(seed=meta.seed or 0, workloads=meta.workloads or 1, start_s=meta.start_s)
        self._exporters = Exporters(self._cluster, kepler=meta.kepler, scrape_interval_s=meta.scrape_interval_s)
        self._applied = _applied(root)
        self._begun = self._cluster.begin()
        self._next_s = meta.start_s

    @property
    def next_s(self) -> float:
        """The beginning of the minute that comes next."""
        return self._next_s

    def replay(self, until_s: float) -> None:
        """Live through what was already written, without writing it again."""
        while self._next_s < until_s:
            self._minute()

    def write(self, until_s: float) -> None:
        """Live on to `until_s` (whole minutes), and write it: a part for each hour that is touched."""
        while self._next_s < until_s:
            hour_end_s = (self._next_s // HOUR_S + 1) * HOUR_S
            self._write_part(min(until_s, hour_end_s))

    def _write_part(self, until_s: float) -> None:
        start_s = self._next_s
        hour_start_s = start_of_hour(start_s)
        first = start_s == self.meta.start_s
        if start_s == hour_start_s and not first:
            self._writer.snapshot(hour_start_s, self._cluster.alive.values())
        events = list(self._begun) if first else []
        self._write_samples(until_s, take_inbox=True, events=events)
        self._writer.events(events)
        self.meta = msgspec.structs.replace(self.meta, end_s=self._next_s)
        self._writer.meta(self.meta)

    def write_again(self, hour_start_s: float) -> None:
        """Write the samples and the truth of an hour that was already written, as one part in place of all its parts.

        InvalidInput when the recording has no such hour.
        """
        start_s, end_s = max(hour_start_s, self.meta.start_s), min(hour_start_s + HOUR_S, self.meta.end_s)
        if start_s >= end_s:
            raise InvalidInput(f"{self.root} has no hour {hour_name(hour_start_s)}")
        self.replay(start_s)
        self._writer.only_part(hour_start_s, self._write_samples(end_s, take_inbox=False, events=[]))

    def _write_samples(self, until_s: float, *, take_inbox: bool, events: list[ObjectEvent]) -> str:
        """Write the samples and the truth up to `until_s`, in one hour, and append what happened to `events`."""
        start_s = self._next_s
        hour_start_s = start_of_hour(start_s)
        points, truths = [], []
        while self._next_s < until_s:
            happened, sampled, truth = self._minute(take_inbox=take_inbox)
            events += happened
            points.append(sampled)
            truths.append(truth)
        part = f"{int((start_s - hour_start_s) // MINUTE_S):02d}"
        sampled = pl.concat(points).sort("series_id", "ts")
        ids = sampled["series_id"].unique().sort().to_numpy()
        self._writer.samples(hour_start_s, part, series=self._exporters.series(ids), points=sampled)
        self._writer.truth(hour_start_s, part, pl.concat(truths))
        return part

    def _minute(self, *, take_inbox: bool = False) -> tuple[list[ObjectEvent], pl.DataFrame, pl.DataFrame]:
        ts = self._next_s
        if take_inbox:
            self._take_inbox(ts)
        changes: list[tuple[Workload, dict[str, object]]] = []
        for change in self._applied.get(ts, ()):
            workload = self._cluster.find(change.namespace, change.kind, change.name)
            if workload is not None:
                wanted = {"image": change.image, "cpu_mcpu": change.cpu_mcpu}
                changes.append((workload, {k: v for k, v in wanted.items() if v is not None}))
        events = self._cluster.minute(ts, changes)
        points, truth = self._exporters.minute(ts)
        self._next_s = ts + MINUTE_S
        return events, points, truth

    def _take_inbox(self, ts: float) -> None:
        """Changes that wait become part of the history, so that they are there again when it is replayed."""
        waiting = sorted((self.root / INBOX).glob("*.json"))
        taken = [msgspec.structs.replace(msgspec.json.decode(p.read_bytes(), type=Change), minute=ts) for p in waiting]
        if not taken:
            return
        self._applied.setdefault(ts, []).extend(taken)
        everything = [change for changes in self._applied.values() for change in changes]
        write_atomically(self.root / INBOX / APPLIED, b"".join(msgspec.json.encode(c) + b"\n" for c in everything))
        for path in waiting:
            path.unlink()


def simulate(
    root: Path | str,
    *,
    seed: int,
    start_s: float,
    hours: float,
    kepler: str = "0.9",
    workloads: int = 40,
    scrape_interval_s: float = 30.0,
    cluster: str = "sim",
    progress: Progress | None = None,
) -> None:
    """Write a recording of `hours` from `start_s` (Unix seconds; both in whole minutes) into the new folder `root`.

    The same seed gives the same recording. InvalidInput when there is a recording already, or for an argument that
    cannot be. `progress` gets minutes done and in all.
    """
    folder = local_folder(root, what="a recording")
    if kepler not in KEPLERS:
        raise InvalidInput(f"unknown Kepler {kepler!r}: use one of {', '.join(KEPLERS)}")
    if workloads < 1 or hours <= 0 or not 1 <= scrape_interval_s <= MINUTE_S:
        raise InvalidInput("a simulation needs a workload, some time, and a scrape every 1 to 60 seconds")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "recording.json").exists():
        raise InvalidInput(f"{folder} holds something that is no recording: name a new folder")
    if (folder / "recording.json").exists():
        raise InvalidInput(f"{folder} holds a recording already: name another folder, or continue it with --follow")
    start_s = start_s // MINUTE_S * MINUTE_S
    meta = Meta(
        recording_id=objects.uid_of("recording", seed, start_s, cluster), cluster=cluster, kepler=kepler,
        scrape_interval_s=scrape_interval_s, start_s=start_s, end_s=start_s, seed=seed, workloads=workloads,
    )  # fmt: skip
    simulation = Simulation(folder, meta)
    minutes = round(hours * 60)
    end_s = start_s + minutes * MINUTE_S
    while simulation.next_s < end_s:
        simulation.write(min(end_s, (simulation.next_s // HOUR_S + 1) * HOUR_S))
        if progress:
            progress(round((simulation.next_s - start_s) / MINUTE_S), minutes)


def follow(
    root: Path | str,
    *,
    stop: Callable[[], bool],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    poll_s: float = 1.0,
) -> None:
    """Continue the simulated recording in `root` as `clock` passes, until `stop` returns True; first catch up with it.

    InvalidInput when the recording is not a simulation.
    """
    simulation = _simulated(local_folder(root, what="a recording"))
    simulation.replay(simulation.meta.end_s)
    while not stop():
        now_minute_s = clock() // MINUTE_S * MINUTE_S
        if simulation.next_s < now_minute_s:
            simulation.write(min(now_minute_s, (simulation.next_s // HOUR_S + 1) * HOUR_S))
        else:
            sleep(poll_s)


def simulate_again(root: Path | str, *, hour_start_s: float) -> None:
    """Write the samples and the truth of one hour of the simulated recording in `root` again.

    InvalidInput when the recording is not a simulation or has no such hour.
    """
    _simulated(local_folder(root, what="a recording")).write_again(hour_start_s)


def _simulated(folder: Path) -> Simulation:
    meta = read_meta(folder)
    if meta.seed is None or meta.workloads is None:
        raise InvalidInput(f"{folder} was recorded from a real cluster: it cannot be simulated on")
    return Simulation(folder, meta)


def change_workload(
    root: Path | str,
    *,
    namespace: str,
    kind: str,
    name: str,
    image: str | None = None,
    cpu_mcpu: int | None = None,
) -> None:
    """Ask for a rollout of a simulated workload; it happens in the next minute that is written.

    InvalidInput when there is no such workload, or nothing to change.
    """
    folder = local_folder(root, what="a recording")
    meta = read_meta(folder)
    if image is None and cpu_mcpu is None:
        raise InvalidInput("nothing to change: give an image or an amount of CPU")
    cluster = Cluster(seed=meta.seed or 0, workloads=meta.workloads or 1, start_s=meta.start_s)
    if cluster.find(namespace, kind, name) is None:
        raise InvalidInput(f"no {kind} {namespace}/{name} in this simulation")
    change = Change(namespace=namespace, kind=kind, name=name, image=image, cpu_mcpu=cpu_mcpu)
    path = folder / INBOX / f"{time.time_ns():020d}.json"
    write_atomically(path, msgspec.json.encode(change))


def _applied(root: Path) -> dict[float, list[Change]]:
    path = root / INBOX / APPLIED
    found: dict[float, list[Change]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        change = msgspec.json.decode(line, type=Change)
        found.setdefault(change.minute or 0.0, []).append(change)
    return found
