"""Leader election: of the collectors of a cluster the one that holds a Lease writes, the others wait for it.

As in client-go: a Lease that its holder did not renew for its duration, by the clock of who waits, is taken over; a
holder that cannot renew gives up before that. An orderly end releases the Lease. The journal is safe without it
(`podpower.collector.single_writer`): the Lease lets a second collector wait where it would be refused.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from podpower.errors import InvalidInput, PodpowerError, Unavailable
from podpower.io.retries import Note
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api, Conflict
from podpower.sources.kubernetes.chart_objects import read_chart_object

_POLL_S: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds: how long a Lease lasts, after how long without renewal its holder gives up, and between attempts."""

    lasts_s: float = 30.0
    gives_up_s: float = 20.0
    attempt_s: float = 5.0


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct):
    """The fields of a Lease that are read."""

    metadata: _Metadata
    spec: _Spec | None = None


class Lease:
    """A Lease that exists already, and what this process saw of it."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str, *, pace: Pace) -> None:
        self._api, self._pace, self._identity = api, pace, identity
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        self._name = f"Lease {namespace}/{name}"
        self._seen, self._seen_at_s = "", 0.0  # its last version, and when it was first seen
        self.holder = ""

    async def hold(self) -> bool:
        """Take or renew it; False while another one holds it. InvalidInput where it does not exist or is forbidden."""
        found, known = await self._read()
        spec, self.holder = found.get("spec") or {}, known.holder_identity or ""
        ends_s = self._seen_at_s + (known.lease_duration_seconds or self._pace.lasts_s)
        if self.holder not in {"", self._identity} and time.monotonic() < ends_s:
            return False
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self.holder != self._identity:
            changes = (known.lease_transitions or 0) + bool(self.holder)
            spec = {"acquireTime": now, "leaseTransitions": changes}
        held = {"holderIdentity": self._identity, "leaseDurationSeconds": round(self._pace.lasts_s), "renewTime": now}
        return await self._written({**found, "spec": {**spec, **held}})

    async def release(self) -> None:
        """Let another one take it at once."""
        found, known = await self._read()
        if known.holder_identity == self._identity:
            await self._written({**found, "spec": {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}})

    async def _read(self) -> tuple[dict[str, Any], _Spec]:
        """Return the object, and the fields of its spec that are read."""
        found = await read_chart_object(self._api, self._path, name=self._name)
        try:
            lease = msgspec.convert(found, _Lease)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{self._name} cannot be read: {error}") from None
        if lease.metadata.resource_version != self._seen:
            self._seen, self._seen_at_s = lease.metadata.resource_version, time.monotonic()
        return found, lease.spec or _Spec()

    async def _written(self, lease: dict[str, Any]) -> bool:
        try:
            await self._api.replace(self._path, lease)
        except Conflict:
            return False
        return True


class Leadership:
    """Holds a Lease in a thread of its own, which a busy collector does not stop from renewing it."""

    def __init__(self, access: Access, place: str, identity: str, *, pace: Pace, note: Note) -> None:
        self._access, self._place, self._identity, self._pace = access, place, identity, pace
        self._note = note
        self._ends, self._leads = threading.Event(), threading.Event()
        self.lost = False
        self.error: Exception | None = None

    def run(self, on_loss: Callable[[], None]) -> None:
        """Wait for the Lease, renew it until `end`, and release it; `on_loss` where it could not be renewed."""
        try:
            asyncio.run(self._run())
        except Exception as error:  # whatever it is, it is raised by the thread that waits or leads
            self.error, self.lost = error, self._leads.is_set()
        if self.lost:
            on_loss()

    def await_lead(self) -> None:
        """Wait until this process leads; the error for which it never will."""
        while not self._leads.wait(_POLL_S):
            if self.error is not None:
                raise self.error

    def end(self) -> None:
        """Stop renewing."""
        self._ends.set()

    async def _run(self) -> None:
        namespace, _, name = self._place.partition("/")
        async with Api(self._access, tries=1, note=lambda _message: None) as api:
            lease = Lease(api, namespace, name, self._identity, pace=self._pace)
            await self._acquire(lease)
            if self._ends.is_set():
                return
            self._leads.set()
            if await self._kept(lease):
                with suppress(PodpowerError):
                    await lease.release()
            else:
                self.lost = True

    async def _acquire(self, lease: Lease) -> None:
        noted = ""
        while not self._ends.is_set():
            try:
                if await lease.hold():
                    self._note(f"leading: {self._identity} holds Lease {self._place}")
                    return
                if not lease.holder:  # another one was faster
                    continue
                state = f"waiting: {lease.holder} holds Lease {self._place}"
            except Unavailable as error:
                state = f"waiting for Lease {self._place}: {error}"
            if state != noted:
                self._note(noted := state)
            await self._pause(self._pace.attempt_s)

    async def _kept(self, lease: Lease) -> bool:
        """Renew the Lease until the end; False once it is lost."""
        renewed_s = time.monotonic()
        while not self._ends.is_set():
            await self._pause(self._pace.attempt_s)
            left_s = renewed_s + self._pace.gives_up_s - time.monotonic()
            try:
                async with asyncio.timeout(max(left_s, 0.0)):
                    began_s = time.monotonic()
                    if await lease.hold():
                        renewed_s = began_s
                    elif lease.holder != self._identity:
                        return False
            except (PodpowerError, TimeoutError) as error:
                if time.monotonic() >= renewed_s + self._pace.gives_up_s:
                    self._note(f"Lease {self._place} could not be renewed for {self._pace.gives_up_s:g} s: {error}")
                    return False
        return True

    async def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._ends.is_set() and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, _POLL_S))


@contextmanager
def leading(
    access: Access,
    place: str,
    identity: str,
    *,
    note: Note,
    pace: Pace = Pace(),
    on_loss: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
) -> Iterator[None]:
    """Hold the Lease `place` (NAMESPACE/NAME) within the block, which begins when this process leads.

    A process that loses it is ended by `on_loss`, SIGTERM by default; Unavailable behind the block, then.
    """
    leadership = Leadership(access, place, identity, pace=pace, note=note)
    thread = threading.Thread(target=leadership.run, args=(on_loss,), name="lease", daemon=True)
    thread.start()
    try:
        leadership.await_lead()
        yield
    finally:
        leadership.end()
        thread.join()
    if leadership.lost:
        raise Unavailable(f"Lease {place} was lost: another collector writes now") from leadership.error
