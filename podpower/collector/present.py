"""The objects that exist in a cluster now."""

import asyncio

from podpower.io.retries import Note
from podpower.kubernetes.kinds import ownership_rank
from podpower.kubernetes.times import ended_s, present_form_s
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import EVERYTHING, Found, Selection, Stream, listed, open_streams
from podpower.sources.protocols import ObjectEvent
from podpower.specs.essentials import essential


def present_objects(
    access: Access, selection: Selection = EVERYTHING, *, note: Note = lambda _: None
) -> list[ObjectEvent]:
    """Return the objects that exist now, owners first, each ADDED at the time at which it got its form; a finished
    pod at its end.
    """

    async def gathered() -> list[ObjectEvent]:
        async with Api(access, note=note) as api:
            streams = await open_streams(api, selection)
            found = await asyncio.gather(*(_present(api, stream) for stream in streams))
        return [event for one in found for event in one]

    events = asyncio.run(gathered())
    return sorted(events, key=lambda event: ownership_rank(event.object.get("kind")))


async def _present(api: Api, stream: Stream) -> list[ObjectEvent]:
    events = {}
    async for item in listed(api, stream):
        if isinstance(item, Found):
            ts = ended_s(item.object) or present_form_s(item.object) or 0.0
            events[item.object["metadata"]["uid"]] = ObjectEvent(ts=ts, type="ADDED", object=essential(item.object))
    return list(events.values())
