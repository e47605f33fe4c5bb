"""Hours whose fleet summary was made from other content than that of their tables now, in groups of one run each."""

from collections.abc import Iterator, Sequence

import dagster as dg

from podpower.hours import HOUR_S
from podpower_assets.fleet.assets import NAME
from podpower_assets.partitions import hour_key, hour_start_s
from podpower_assets.policies import PARTITIONS_A_RUN
from podpower_assets.versions import is_stale, recorded


def stale_hours(instance: dg.DagsterInstance, upstream: Sequence[dg.AssetKey], hours: Sequence[str]) -> list[str]:
    """Return the hours whose summary was made from other content than that of their tables now."""
    own = recorded(instance, dg.AssetKey(NAME), hours)
    made = {key: recorded(instance, key, hours) for key in upstream}
    return [
        hour
        for hour in hours
        if is_stale(own.get(hour), [(k.to_user_string(), hour, of[hour]) for k, of in made.items() if hour in of])
    ]


def contiguous(hours: Sequence[str]) -> Iterator[list[str]]:
    """Yield groups of hours that follow each other, each of at most PARTITIONS_A_RUN."""
    group: list[str] = []
    for hour in hours:
        follows = group and hour_key(hour_start_s(group[-1]) + HOUR_S) == hour
        if group and (not follows or len(group) == PARTITIONS_A_RUN):
            yield group
            group = []
        group.append(hour)
    if group:
        yield group
