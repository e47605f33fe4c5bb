"""Identity of a cluster: the UID of its `kube-system` namespace, which lives as long as the cluster."""

import asyncio

import msgspec

from podpower.errors import InvalidInput
from podpower.sources.kubernetes.api import Api

_PATH = "/api/v1/namespaces/kube-system"
_LOOK_S = 30.0


class _Metadata(msgspec.Struct):
    uid: str = ""


class _Namespace(msgspec.Struct):
    metadata: _Metadata


async def cluster_uid(api: Api) -> str:
    """Return the UID; "" where the namespace cannot be read."""
    try:
        return msgspec.json.decode(await api.get(_PATH), type=_Namespace).metadata.uid
    except (InvalidInput, ValueError) as error:
        api.note(f"a rebuilt cluster will not be noticed, because the namespace kube-system cannot be read: {error}")
        return ""


async def replaced(api: Api, uid: str) -> str:
    """Wait until another cluster answers, and return its UID; wait for ever where `uid` is unknown."""
    while True:
        await asyncio.sleep(_LOOK_S)
        if uid and (found := await cluster_uid(api)) not in {"", uid}:
            return found
