"""Specs in quarantine: their labels left the known range by far, and are not used until a person releases them.

`quarantine.json` in the model store has the specs that the last training left out, and the ranges that were released,
by a person or because the labels stayed there. Training finds the specs again each time; a lost file loses the releases
only.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from podpower.errors import Refused
from podpower.io.files import write_atomically
from podpower.io.object_storage import ObjectStorage, decoded, encoded

QUARANTINE_FILE: Final = "quarantine.json"
MOST_KEPT: Final = 5_000  # specs in the file; more than a quarter of all workloads stop promotion anyway
_MOST_NAMED = 5

Key = tuple[str, str, str, str, str]  # cluster, namespace, kind, name, spec hash


class _Spec(msgspec.Struct, kw_only=True, frozen=True):
    cluster: str
    namespace: str
    workload_kind: str
    workload_name: str
    spec_hash: str

    @property
    def key(self) -> Key:
        """The key of the spec's entry in training rows."""
        return self.cluster, self.namespace, self.workload_kind, self.workload_name, self.spec_hash

    @property
    def workload(self) -> str:
        """Namespace, kind and name: what a release takes."""
        return f"{self.namespace}/{self.workload_kind}/{self.workload_name}"


class Quarantined(_Spec, kw_only=True, frozen=True):
    """A spec whose labels of `hours` hours, until `last_s`, are outside its known range (`low_w` to `high_w`) by more
    than ten times. They lie between `least_w` and `most_w`; `since_s` is when its stay began.
    """

    since_s: float
    last_s: float
    hours: int
    low_w: float
    high_w: float
    least_w: float
    most_w: float

    def __str__(self) -> str:
        measured = f"{self.most_w:.3g}" if self.most_w > self.high_w else f"{self.least_w:.3g}"
        since = datetime.fromtimestamp(self.since_s, UTC)
        return (
            f"{self.workload} ({measured} W, known {self.low_w:.3g} to {self.high_w:.3g} W, since "
            f"{since:%Y-%m-%d %H:%M} UTC)"
        )


class Released(_Spec, kw_only=True, frozen=True):
    """A range of power that counts as known for a spec."""

    low_w: float
    high_w: float
    at: str


class QuarantineState(msgspec.Struct, kw_only=True, frozen=True):
    """Content of the file: `count` specs in quarantine in labels until `through_s`, of which `specs` are kept, and
    the released ranges, oldest first.
    """

    through_s: float = 0.0
    count: int = 0
    specs: list[Quarantined] = []
    released: list[Released] = []


class QuarantineList:
    """The quarantine of a model store."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._path = storage.root / QUARANTINE_FILE

    def read(self) -> QuarantineState:
        """Return the state; an empty one before the first training. Refused when the file is damaged."""
        data = self._storage.read(self._path)
        if data is None:
            return QuarantineState()
        try:
            return decoded(data, QuarantineState, what=str(self._path))
        except Refused as error:
            raise Refused(f"{error}: remove it; training writes it again, without what was released") from None

    def last(self) -> QuarantineState:
        """Return the state; an empty one where the file is damaged: nothing counts as released then."""
        with contextlib.suppress(Refused):
            return self.read()
        return QuarantineState()

    def record(self, found: Sequence[Quarantined], *, accepted: Sequence[Quarantined], through_s: float) -> None:
        """Replace the specs in quarantine by `found` and release `accepted`, unless the file is of later labels than
        `through_s`, as when an old day is trained on again.
        """
        with self._storage.exclusive():
            state = self.last()
            if state.through_s > through_s or not (found or accepted or state.specs):
                return
            released = _with_released(state.released, accepted)
            specs = list(found[:MOST_KEPT])
            self._write(QuarantineState(through_s=through_s, count=len(found), specs=specs, released=released))

    def release(self, name: str | None) -> list[Quarantined]:
        """Release the specs of a workload, named `namespace/kind/name`, or all where None, and return them. Their
        labels are used by the next training. Refused when there is none.
        """
        with self._storage.exclusive():
            state = self.read()
            chosen = [spec for spec in state.specs if name in {None, spec.workload, spec.workload_name}]
            workloads = sorted({spec.workload for spec in chosen})
            if name is not None and len(workloads) > 1:
                raise Refused(f"{name} names several workloads: give one of {', '.join(workloads[:_MOST_NAMED])}")
            if not chosen:
                what = "nothing" if name is None else f"no spec of {name}"
                raise Refused(f"{what} is in quarantine: see `podpower models quarantine list`")
            kept = [spec for spec in state.specs if spec not in chosen]
            released = _with_released(state.released, chosen)
            self._write(msgspec.structs.replace(state, specs=kept, released=released, count=state.count - len(chosen)))
        return chosen

    def _write(self, state: QuarantineState) -> None:
        write_atomically(self._path, encoded(state))


def named(specs: Sequence[Quarantined]) -> str:
    """Return the specs as words, the first few by name."""
    rest = len(specs) - _MOST_NAMED
    shown = [str(spec) for spec in specs[:_MOST_NAMED]] + ([f"{rest} more"] if rest > 0 else [])
    return ", ".join(shown)


def _with_released(released: Sequence[Released], specs: Sequence[Quarantined]) -> list[Released]:
    """Return the released ranges with those of `specs`, the newest MOST_KEPT."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = [
        Released(
            cluster=spec.cluster,
            namespace=spec.namespace,
            workload_kind=spec.workload_kind,
            workload_name=spec.workload_name,
            spec_hash=spec.spec_hash,
            low_w=min(spec.low_w, spec.least_w),
            high_w=max(spec.high_w, spec.most_w),
            at=now,
        )
        for spec in specs
    ]
    replaced = {spec.key for spec in new}
    return [*(spec for spec in released if spec.key not in replaced), *new][-MOST_KEPT:]
