"""Verdict of a soak: what was observed, what is stored at its end, and a table of both beside their limits."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import polars as pl

from podpower.cli import output
from podpower.errors import PodpowerError
from podpower.fleet.summary import read_summary
from podpower.hours import HOUR_S
from podpower.io.parquet import TableFile
from podpower.sources.recording import read_meta
from podpower_assets.labels.schedules import HOURLY_ASSETS
from podpower_assets.partitions import hour_start_s, hours_between
from podpower_assets.versions import recorded

SETTLED_S: Final = 1800.0  # simulated, after which an hour that is over has its tables
RUNS_AN_HOUR: Final = 30
MODEL_AGE_S: Final = 3600.0  # of what was served last: hourly is the slowest pace of training
GROWTH_MIB: Final = 150.0  # of one process
OUTAGE_REAL_S: Final = 60.0  # of the API after a kill
EDGE: Final = "edge"  # the cluster that the collector observes
FOLDERS: Final = ("recording", "tables", "models", "dagster", "logs")


@dataclass(frozen=True)
class Outage:
    """What was done to the platform, and when (simulated Unix seconds)."""

    name: str
    at_s: float


@dataclass
class Client:
    """Answers to a client that predicts once a second. Times are simulated Unix seconds, latencies real ones."""

    stop: threading.Event = field(default_factory=threading.Event)
    latencies_s: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)

    def answered(self, at_s: float, latency_s: float, wrong: str) -> None:
        """Add the outcome of one request; `wrong` is empty for a prediction."""
        if wrong:
            self.failures.append((at_s, wrong))
        else:
            self.latencies_s.append(latency_s)


@dataclass
class Observed:
    """What the soak saw while it lived from `begin_s` to `end_s`."""

    begin_s: float
    end_s: float
    rate: float
    outages: list[Outage] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    client: Client = field(default_factory=Client)
    memory_mib: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    disk: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    models: list[tuple[float, str, float]] = field(default_factory=list)  # when, version, when it was trained
    rolled_out: list[tuple[float, str]] = field(default_factory=list)  # when, image at the edge

    @property
    def hours(self) -> float:
        """Return how long it was, in simulated hours."""
        return (self.end_s - self.begin_s) / HOUR_S


@dataclass(frozen=True)
class Line:
    """One line of the verdict; `passed` is None where nothing is required."""

    name: str
    measured: str
    limit: str = ""
    passed: bool | None = None


def sizes(home: Path) -> dict[str, int]:
    """Return the bytes of each part of a home."""
    return {name: sum(_bytes(home / name)) for name in FOLDERS}


def show(home: Path, seen: Observed) -> int:
    """Print the verdict; return 1 where something failed."""
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    with dg.DagsterInstance.get() as instance:
        lines = [
            *_outages(seen),
            *_partitions(home, instance, seen),
            *_edge(home, instance, seen),
            *_runs(instance, seen),
            *_failed_runs(instance, seen),
            *_model(seen),
            *_client(seen),
            *_resources(seen),
        ]
    verdicts = {None: "", True: "pass", False: "FAIL"}
    rows = [(line.name, line.measured, line.limit, verdicts[line.passed]) for line in lines]
    output.table(("", "measured", "limit", "verdict"), rows)
    failed = [line.name for line in lines if line.passed is False]
    print(f"failed: {', '.join(failed)}" if failed else "passed")
    return 1 if failed else 0


def _outages(seen: Observed) -> Iterator[Line]:
    done = ", ".join(f"{_time(outage.at_s)} {outage.name}" for outage in seen.outages)
    missed = f"; not done: {', '.join(seen.missed)}" if seen.missed else ""
    yield Line("outages", f"{done}{missed}", "each part", not seen.missed)


def _partitions(home: Path, instance: dg.DagsterInstance, seen: Observed) -> Iterator[Line]:
    """Compare the stored tables with the hours that are over."""
    start_s = read_meta(home / "recording").start_s
    over_s = seen.end_s - HOUR_S - SETTLED_S
    hours = [hour for hour in hours_between(start_s, seen.end_s) if hour_start_s(hour) < over_s]
    reported = _reported(instance)
    for asset in HOURLY_ASSETS:
        known = recorded(instance, dg.AssetKey(asset), hours)
        bad = {hour: why for hour in hours if (why := _wrong(home, asset, hour, is_recorded=hour in known))}
        silent = [hour for hour in bad if not any(hour in text for text in reported)]
        named = [f"; {hour} {why}{' (not reported)' if hour in silent else ''}" for hour, why in bad.items()]
        counted = f"{len(hours) - len(bad)} of {len(hours)}{''.join(named)}"
        yield Line(f"partitions of {asset}", counted, "each, or reported", not silent)
    summary = read_summary(home / "models")
    if summary is None:
        yield Line("gaps in fleet.json", "no fleet.json", passed=False)
        return
    gaps = [gap for cluster in summary.clusters for gap in cluster.gaps]
    named = [f"{_time(gap.start_s)} to {_time(gap.end_s)} {gap.reason}" for gap in gaps]
    yield Line("gaps in fleet.json", "; ".join(named) or "none")


def _edge(home: Path, instance: dg.DagsterInstance, seen: Observed) -> Iterator[Line]:
    """Compare the tables of the observed cluster with its hours, and its specs with what was rolled out."""
    over_s = seen.end_s - HOUR_S - SETTLED_S
    hours = [hour for hour in hours_between(seen.begin_s, seen.end_s) if hour_start_s(hour) < over_s]
    for asset in HOURLY_ASSETS[:2]:
        key = dg.AssetKey([EDGE, asset])
        known = recorded(instance, key, hours)
        bad = [hour for hour in hours if _wrong(home, f"{EDGE}/{asset}", hour, is_recorded=hour in known)]
        yield Line(f"partitions of {EDGE}/{asset}", f"{len(hours) - len(bad)} of {len(hours)}", "each", not bad)
    stored = sorted((home / "tables" / EDGE / "workload_specs").glob("*.parquet"))
    requests = "\n".join(request for path in stored for request in pl.read_parquet(path)["request"])
    wanted = [image for at_s, image in seen.rolled_out if _seen_from_s(seen, at_s) < seen.end_s - SETTLED_S]
    lost = [image for image in wanted if f'"{image}"' not in requests]
    yield Line(
        f"rollouts seen at {EDGE}",
        f"{len(wanted) - len(lost)} of {len(wanted)}{'; not ' + ', '.join(lost) if lost else ''}",
        "each",
        not lost,
    )


def _seen_from_s(seen: Observed, at_s: float) -> float:
    """Return from when a rollout could be seen: one during an outage of the collector, from its end."""
    ended = {outage.name: outage.at_s for outage in seen.outages}
    stopped_s, restarted_s = ended.get("stop collector", seen.end_s), ended.get("kill collector", seen.end_s)
    return restarted_s if stopped_s - 60.0 <= at_s <= restarted_s else at_s  # it is noted after its rollout


def _wrong(home: Path, asset: str, hour: str, *, is_recorded: bool) -> str:
    """Return what is wrong with a partition; nothing for a table that is there, whole and recorded."""
    path = home / "tables" / asset / f"{hour.replace(':', '')}.parquet"
    if not path.exists():
        return "has no table"
    try:
        TableFile(path=path, partition=f"{hour} of {asset}", command="").read()
    except PodpowerError:
        return "is damaged"
    return "" if is_recorded else "is not recorded"


def _reported(instance: dg.DagsterInstance) -> list[str]:
    """Return the errors of failed runs, which name partitions."""
    failure, failed = dg.DagsterEventType.STEP_FAILURE, dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    return [
        str(record.event_log_entry.dagster_event)
        for run in instance.get_runs(failed)
        for record in instance.get_records_for_run(run.run_id, of_type=failure).records
    ]


def _runs(instance: dg.DagsterInstance, seen: Observed) -> Iterator[Line]:
    """Count the runs of each simulated hour, by what asked for them."""
    by_hour: dict[int, Counter[str]] = {}
    for record in instance.get_run_records():
        at_s = record.create_timestamp.timestamp()
        if seen.begin_s <= at_s < seen.end_s:
            by_hour.setdefault(int((at_s - seen.begin_s) // HOUR_S), Counter())[_asked_by(record.dagster_run)] += 1
    for number, counted in sorted(by_hour.items()):
        length_h = min(1.0, seen.hours - number)
        rate = counted.total() / length_h
        jobs = ", ".join(f"{name} {count}" for name, count in counted.most_common())
        yield Line(
            f"runs in hour {number + 1}",
            f"{counted.total()}: {jobs}",
            f"{RUNS_AN_HOUR} an hour",
            rate <= RUNS_AN_HOUR if length_h > 0.9 else None,
        )


def _asked_by(run: dg.DagsterRun) -> str:
    tags = run.tags
    if tags.get("dagster/parent_run_id"):
        return "retry"
    return tags.get("dagster/schedule_name") or tags.get("dagster/sensor_name") or run.job_name


def _failed_runs(instance: dg.DagsterInstance, seen: Observed) -> Iterator[Line]:
    """List the failed runs, and whether everything that they were to make was made later."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    failed = [record for record in records if (record.end_time or 0.0) < seen.end_s]  # not those that the end stopped
    bad, reasons = [], Counter[str]()
    for record in failed:
        run, at_s = record.dagster_run, record.create_timestamp.timestamp()
        reasons[_reason(instance, run)] += 1
        for asset, keys in _planned(instance, run).items():
            later = recorded(instance, asset, keys)
            wanted = keys or [""]
            bad += [
                f"{asset.to_user_string()} {key}".strip()
                for key in wanted
                if key not in later or later[key].at_s < at_s
            ]
    unfinished = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    stuck = [run.run_id[:8] for run in unfinished if seen.end_s - _created_s(instance, run) > 2 * HOUR_S]
    why = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    yield Line("failed runs", f"{len(failed)}: {why}" if failed else "0")
    yield Line("not made good", ", ".join(dict.fromkeys(bad)) or "none", "none", not bad)
    yield Line("runs that hang", ", ".join(stuck) or "none", "none", not stuck)


def _created_s(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float:
    record = instance.get_run_record_by_id(run.run_id)
    return record.create_timestamp.timestamp() if record else 0.0


def _planned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[dg.AssetKey, list[str] | None]:
    """Return the partitions of each asset that a run was to make; None for an asset without partitions."""
    tags, found = run.tags, {}
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or first
    hours = [] if first is None or ":" not in first else hours_between(hour_start_s(first), hour_start_s(str(last)) + 1)
    planned = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    for record in instance.get_records_for_run(run.run_id, of_type=planned).records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.asset_key is not None:
            is_whole = event.asset_key.path[-1] in {"encoder", "fleet_summary"}
            found[event.asset_key] = None if is_whole or first is None else hours or [first]
    return found


def _reason(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the first line of the innermost error of a run, without its numbers."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run.run_id, of_type=kind, limit=1).records:
            event = record.event_log_entry.dagster_event
            data = event.event_specific_data if event else None
            error, user = getattr(data, "error", None), getattr(data, "user_failure_data", None)
            while error is not None and error.cause is not None:
                error = error.cause
            text = (user and user.description) or (error and error.message) or (event.message if event else "") or ""
            return next((line for line in text.splitlines() if line.strip()), "no reason")[:160]
    return "no reason"


def _model(seen: Observed) -> Iterator[Line]:
    """Compare the age of the served model with its policy."""
    if not seen.models:
        yield Line("served model", "none", passed=False)
        return
    now_s, version, trained_s = seen.models[-1]
    oldest_s = max(at_s - made_s for at_s, _version, made_s in seen.models)
    count = len({version for _at, version, _trained in seen.models})
    yield Line(
        "age of the served model",
        f"{_minutes(now_s - trained_s)} at the end ({version}); at most {_minutes(oldest_s)}; {count} versions",
        f"{_minutes(MODEL_AGE_S)} at the end",
        now_s - trained_s <= MODEL_AGE_S,
    )


def _client(seen: Observed) -> Iterator[Line]:
    """Leave out requests that failed between a kill of the API and its next answer."""
    kills_s = [outage.at_s for outage in seen.outages if outage.name == "kill api"]
    restarts_s = [(kill_s - 30.0, kill_s + OUTAGE_REAL_S * seen.rate) for kill_s in kills_s]
    failures, ordered = seen.client.failures, sorted(seen.client.latencies_s)
    other = [
        (at_s, why) for at_s, why in failures if not any(begin_s <= at_s <= end_s for begin_s, end_s in restarts_s)
    ]
    if not ordered:
        yield Line("predictions", "none", passed=False)
        return
    quick = f"99 % in {1000 * ordered[int(len(ordered) * 0.99)]:.0f} ms, all in {ordered[-1]:.1f} s"
    first = f"; {_time(other[0][0])} {other[0][1]}" if other else ""
    yield Line("predictions", f"{len(ordered)} answered, {quick}")
    yield Line("failed while the API restarted", str(len(failures) - len(other)), f"{OUTAGE_REAL_S:.0f} s")
    yield Line("failed otherwise", f"{len(other)}{first}", "0", not other)


def _resources(seen: Observed) -> Iterator[Line]:
    """Compare memory and disk at the end with those at the beginning."""
    begin, end = seen.memory_mib[0][1], seen.memory_mib[-1][1]
    for name in sorted(set(begin) | set(end)):
        first, last = begin.get(name), end.get(name)
        if first is None or last is None:
            yield Line(f"memory of {name}", "it did not live at both ends", passed=False)
            continue
        yield Line(
            f"memory of {name}", f"{first:.0f} to {last:.0f} MiB", f"+{GROWTH_MIB:.0f} MiB", last - first <= GROWTH_MIB
        )
    before, after = seen.disk[0][1], seen.disk[-1][1]
    for name in FOLDERS:
        growth = (after[name] - before[name]) / 1e6
        yield Line(
            f"disk: {name}",
            f"{before[name] / 1e6:.1f} to {after[name] / 1e6:.1f} MB, {growth / seen.hours:.1f} MB an hour",
        )


def _bytes(folder: Path) -> Iterator[int]:
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                yield (Path(parent) / name).stat().st_size
            except FileNotFoundError:  # written under another name, and moved
                continue


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
