"""Materialize every asset for a whole recording, in three runs of the instance in DAGSTER_HOME: `python -m` does it."""

import sys
from dataclasses import replace

import dagster as dg

from podpower import settings
from podpower.errors import InvalidInput, PodpowerError
from podpower.sources.recording import Recording
from podpower_assets.definitions import definitions
from podpower_assets.features.assets import ENCODER
from podpower_assets.fleet.assets import NAME as FLEET
from podpower_assets.labels.schedules import HOURLY_ASSETS
from podpower_assets.model.assets import NAME as MODEL
from podpower_assets.model.assets import PROMOTED
from podpower_assets.partitions import day_key, first_hour, hours_between, known_hours, range_tags

FIRST_ASSETS = (ENCODER, *HOURLY_ASSETS)
DAILY_ASSETS = (MODEL, PROMOTED)
LAST_ASSETS = (FLEET,)  # with predictions of the promoted model


def materialize_recording(instance: dg.DagsterInstance) -> None:
    """Materialize all hours of the recording in one run, then the model of its last day and the fleet summary.

    PodpowerError when a run fails.
    """
    given = settings.read()
    recording = Recording(given.places.recording(live=given.prometheus.url is not None))
    begin = replace(given.assets, partitions_start=first_hour(given))
    hours = known_hours(hours_between(recording.start_s, recording.end_s), begin)
    if not hours:
        first = begin.partitions_start
        raise InvalidInput(f"the recording ends before the first partition, {first}: set PODPOWER_PARTITIONS_START")
    day = day_key(recording.end_s - 1)
    job = definitions(given).resolve_implicit_global_asset_job_def()
    _run(job, instance, FIRST_ASSETS, first=hours[0], last=hours[-1])
    _run(job, instance, DAILY_ASSETS, first=day, last=day)
    _run(job, instance, LAST_ASSETS, first=hours[0], last=hours[-1])


def _run(job: dg.JobDefinition, instance: dg.DagsterInstance, names: tuple[str, ...], *, first: str, last: str) -> None:
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in names],
        tags=range_tags(first, last),
        raise_on_error=False,
    )
    failures = [e for e in result.all_events if e.is_step_failure]
    if failures:
        raise PodpowerError(f"{failures[0].step_key} failed: {failures[0].message}")
    missing = set(names) - {
        e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key
    }
    if not result.success or missing:
        raise PodpowerError(f"not materialized: {', '.join(sorted(missing)) or 'the run failed'}")


if __name__ == "__main__":
    try:
        with dg.DagsterInstance.get() as own:
            materialize_recording(own)
    except PodpowerError as failure:
        sys.stderr.write(f"error: {failure}\n")
        sys.exit(1)
