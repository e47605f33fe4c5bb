"""The hourly assets of the platform for a backfill: the real definitions, without what requests runs by itself."""

import dagster as dg

from podpower import settings
from podpower_assets.definitions import definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return the assets, their checks and resources."""
    whole = definitions(settings.read())
    return dg.Definitions(
        assets=whole.assets, asset_checks=whole.asset_checks, resources=whole.resources, executor=whole.executor
    )
