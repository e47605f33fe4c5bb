"""Follows the fleet summary and the file of budgets, off the event loop."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from podpower.errors import InvalidInput, PodpowerError
from podpower.fleet.budgets import Budgets, read_budgets
from podpower.fleet.summary import FLEET_FILE, MAX_BYTES, read_summary
from podpower.io.files import read_bounded
from podpower.io.storages import storage_at
from podpower.specs.quoting import quoted
from podpower_serving.admission.budgets import Fleet, Ledger, fleet_of

_MOST_NAMES: Final = 10

_log = logging.getLogger("podpower.serving")


class Following:
    """Brings what a ledger knows up to date. What cannot be read changes nothing and is logged once."""

    def __init__(self, ledger: Ledger, *, store: str, budgets_file: str | None, cluster: str | None) -> None:
        self._ledger = ledger
        self._store, self._file, self._cluster = store, budgets_file, cluster
        self._of_file, self._fleet = Budgets(), Fleet()
        self._digest: bytes | None = None
        self._file_digest: bytes | None = None
        self._reported: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read both; the ledger takes them over on the event loop."""
        try:
            found = await asyncio.to_thread(self._read)
        except Exception:  # the task must survive every error of a store
            _log.exception("reading budgets failed; those of before stay")
        else:
            self._ledger.replace(*found)

    async def follow(self, *, every_seconds: float) -> None:
        """Call `refresh` repeatedly."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.refresh()

    def _read(self) -> tuple[Budgets, Fleet]:
        with self._reporting("budgets"):
            self._read_file()
        with self._reporting("the fleet summary"):
            self._read_summary()
        return self._of_file, self._fleet

    def _read_file(self) -> None:
        if self._file is None:
            return
        digest = hashlib.sha256(read_bounded(self._file, limit_bytes=MAX_BYTES)).digest()
        if digest != self._file_digest:
            self._of_file = read_budgets(self._file)
            self._file_digest = digest

    def _read_summary(self) -> None:
        """Read the summary if its bytes changed: decoding takes long enough to be felt."""
        storage = storage_at(self._store)
        data = storage.read(storage.root / FLEET_FILE, limit_bytes=MAX_BYTES)
        digest = None if data is None else hashlib.sha256(data).digest()
        if digest == self._digest:
            return
        summary = read_summary(self._store)
        self._digest = digest
        if summary is None:
            return
        written_s = datetime.fromisoformat(summary.written_at).timestamp()
        self._fleet = fleet_of(summary, cluster=self._cluster, written_s=written_s)
        if not self._fleet.written_s:
            names = ", ".join(quoted(one.cluster) for one in summary.clusters[:_MOST_NAMES])
            raise InvalidInput(f"it has the clusters {names}: set PODPOWER_CLUSTER to the one that is served")

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Log an error when it appears, and not again while it stays the same."""
        try:
            yield
        except (PodpowerError, ValueError) as error:
            if self._reported.get(what) != str(error):
                _log.warning("%s for admission cannot be read, those of before stay: %s", what, error)
            self._reported[what] = str(error)
        else:
            self._reported.pop(what, None)
