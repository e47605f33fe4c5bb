"""Scope of a purge: a namespace, of one cluster or of all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from podpower.errors import InvalidInput

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A namespace of `cluster`, None for that of every cluster. InvalidInput when it is not a valid name."""

    namespace: str
    cluster: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.namespace):
            raise InvalidInput(f"{self.namespace!r:.80} is not a namespace: use a-z, 0-9 and -, at most 63 characters")

    def has(self, cluster: str | None, namespace: str | None) -> bool:
        """Return True if data of this cluster and namespace are removed. Data that name no cluster are of any."""
        return namespace == self.namespace and (self.cluster is None or cluster in {None, "", self.cluster})

    def has_object(self, obj: Mapping[str, Any]) -> bool:
        """Return True for an object in the namespace, and for the Namespace itself."""
        metadata = obj.get("metadata")
        if not isinstance(metadata, Mapping):
            return False
        is_itself = obj.get("kind") == "Namespace" and metadata.get("name") == self.namespace
        return is_itself or metadata.get("namespace") == self.namespace

    def is_stream(self, stream: str) -> bool:
        """Return True if a stream of the collector, such as `apps/v1/deployments@shop`, is of the namespace alone."""
        return stream.endswith(f"@{self.namespace}")

    def is_named_in(self, text: str) -> bool:
        """Return True if a text names a workload of the namespace, as in `shop/Deployment/web`."""
        return re.search(rf"(?<![A-Za-z0-9._-]){re.escape(self.namespace)}/", text) is not None

    def is_shown_in(self, page: str) -> bool:
        """Return True if a table of a page has the namespace, or a pod of it."""
        return re.search(rf">{re.escape(self.namespace)}[/<]", page) is not None


@dataclass(frozen=True, kw_only=True)
class Purged:
    """Something that was removed: how many rows, lines, entries or files (`unit`) of which place."""

    store: str
    place: str
    count: int
    unit: str
