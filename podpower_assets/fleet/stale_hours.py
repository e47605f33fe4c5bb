"""Hours whose fleet summary was made from other content than that of their tables now."""

from collections.abc import Sequence

import dagster as dg

from podpower_assets.fleet.assets import NAME
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
