"""Objects that the chart makes and a process keeps up to date: a Lease, a Secret, a webhook configuration."""

from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.sources.kubernetes.api import Api, Missing


async def read_chart_object(api: Api, path: str, *, name: str) -> dict[str, Any]:
    """Return the object at a path, called `name` in errors. InvalidInput where there is none, or no object."""
    try:
        return msgspec.json.decode(await api.get(path), type=dict[str, Any])
    except Missing:
        raise InvalidInput(f"{name} does not exist: the chart makes it") from None
    except ValueError as error:
        raise InvalidInput(f"{name}: {api.access.server} answers no object ({error}): is it an API server?") from None
