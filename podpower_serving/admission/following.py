"""Follows the fleet summary and the file of budgets, off the event loop."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from podpower.errors import PodpowerError
from podpower.fleet.budgets import Budgets, read_budgets
from podpower.fleet.summary import FLEET_FILE, MAX_BYTES, read_summary
from podpower.io.files import read_bounded
from podpower.io.places import is_url
from podpower.io.storages import storage_at
from podpower.io.streams import check_no_stream
from podpower.specs.quoting import quoted
from podpower_serving.admission.budgets import Fleet, Ledger, fleet_of
from podpower_serving.refreshing import PatientLook

_BUDGETS: Final = "budgets"
_SUMMARY: Final = "the fleet summary"
_MOST_NAMES: Final = 10

_log = logging.getLogger("podpower.serving")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """State after a look: budgets of the file and figures of the summary, with the digests of their bytes, and
    why one of them cannot be read.
    """

    of_file: Budgets = field(default_factory=Budgets)
    file_digest: bytes | None = None
    fleet: Fleet = field(default_factory=Fleet)
    fleet_digest: bytes | None = None
    unmatched: str | None = None  # why the summary shows nothing
    errors: Mapping[str, str] = field(default_factory=dict)


class Following:
    """Brings what a ledger knows up to date. What cannot be read changes nothing and is logged once."""

    def __init__(self, ledger: Ledger, *, store: str, budgets_file: str | None, cluster: str | None) -> None:
        self._ledger = ledger
        self._store, self._file, self._cluster = store, budgets_file, cluster
        self._seen = Seen()
        self._reported: Mapping[str, str] = {}
        self._patient = PatientLook(self, name="budgets")

    async def refresh(self) -> None:
        """Read both; the ledger takes them over on the event loop."""
        if await self._patient.refresh():
            self._ledger.replace(self._seen.of_file, self._seen.fleet)

    def look(self) -> Seen:
        """Read both, as far as their bytes changed."""
        errors: dict[str, str] = {}
        seen = self._seen
        for what, read in ((_BUDGETS, self._with_file), (_SUMMARY, self._with_summary)):
            try:
                seen = read(seen)
            except (PodpowerError, ValueError) as error:
                errors[what] = str(error)
        if seen.unmatched is not None:
            errors.setdefault(_SUMMARY, seen.unmatched)
        return replace(seen, errors=errors)

    def take(self, seen: Seen) -> None:
        """Keep what was seen."""
        self._seen = seen
        self._report(seen.errors)

    def refuse(self, detail: str) -> None:
        """Report why neither is read; once while that stays."""
        self._report({f"{_BUDGETS} and {_SUMMARY}": detail})

    def _with_file(self, seen: Seen) -> Seen:
        if self._file is None:
            return seen
        if not is_url(self._file):
            check_no_stream(Path(self._file))
        digest = hashlib.sha256(read_bounded(self._file, limit_bytes=MAX_BYTES)).digest()
        if digest == seen.file_digest:
            return seen
        return replace(seen, of_file=read_budgets(self._file), file_digest=digest)

    def _with_summary(self, seen: Seen) -> Seen:
        """Read the summary if its bytes changed: decoding takes long enough to be felt."""
        storage = storage_at(self._store)
        data = storage.read(storage.root / FLEET_FILE, limit_bytes=MAX_BYTES)
        digest = None if data is None else hashlib.sha256(data).digest()
        if digest == seen.fleet_digest:
            return seen
        summary = read_summary(self._store)
        if summary is None:
            return replace(seen, fleet_digest=digest, unmatched=None)
        written_s = datetime.fromisoformat(summary.written_at).timestamp()
        fleet = fleet_of(summary, cluster=self._cluster, written_s=written_s)
        unmatched = None
        if not fleet.written_s:
            names = ", ".join(quoted(one.cluster) for one in summary.clusters[:_MOST_NAMES])
            unmatched = f"it has the clusters {names}: set PODPOWER_CLUSTER to the one that is served"
        return replace(seen, fleet=fleet, fleet_digest=digest, unmatched=unmatched)

    def _report(self, errors: Mapping[str, str]) -> None:
        """Log each error when it appears, and not again while it stays the same."""
        for what, error in errors.items():
            if self._reported.get(what) != error:
                _log.warning("%s for admission cannot be read, those of before stay: %s", what, error)
        self._reported = errors
