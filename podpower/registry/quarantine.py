"""Specs in quarantine: their labels left the known range by far, and are not used until a person releases them.

The last file of `quarantine/` in the model store has the specs that the last training left out, and the ranges that
were released, by a person or because the labels stayed there. Each change is a numbered file, created once. Training
finds the specs again each time; a lost file loses the releases only.
"""

import contextlib
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from upath import UPath

from podpower.errors import Refused
from podpower.io.numbered_files import NumberedFiles
from podpower.io.object_storage import ObjectStorage
from podpower.io.sealed_json import Format

QUARANTINE_FOLDER: Final = "quarantine"
_FIRST_FILE: Final = "quarantine.json"  # of earlier versions, before there were numbers
MOST_KEPT: Final = 5_000  # specs in the file; more than a quarter of all workloads stop promotion anyway
FILES_KEPT: Final = 10
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
    """Content of a file: `count` specs in quarantine in labels until `through_s`, of which `specs` are kept, and the
    released ranges, oldest first. `writer` is unique to the change.
    """

    through_s: float = 0.0
    count: int = 0
    specs: list[Quarantined] = []
    released: list[Released] = []
    writer: str = ""


QUARANTINE: Final = Format(name="quarantine", type=QuarantineState)


class QuarantineList:
    """The quarantine of a model store."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._files = NumberedFiles(storage, QUARANTINE_FOLDER)

    def read(self) -> QuarantineState:
        """Return the state; an empty one before the first training. Refused when the file is damaged."""
        return self._read(max(self._files.all(), default=0))

    def _read(self, number: int) -> QuarantineState:
        path = self._place(number)
        data = self._storage.read(path)
        if data is None:
            return QuarantineState()
        try:
            return QUARANTINE.decode(data, what=str(path)).value
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

        def recorded(state: QuarantineState) -> QuarantineState | None:
            if state.through_s > through_s or not (found or accepted or state.specs):
                return None
            released = _with_released(state.released, accepted)
            specs = list(found[:MOST_KEPT])
            return QuarantineState(through_s=through_s, count=len(found), specs=specs, released=released)

        self._change(recorded, damaged=QuarantineState())

    def release(self, name: str | None) -> list[Quarantined]:
        """Release the specs of a workload, named `namespace/kind/name`, or all where None, and return them. Their
        labels are used by the next training. Refused when there is none.
        """
        chosen: list[Quarantined] = []

        def released(state: QuarantineState) -> QuarantineState:
            chosen[:] = _named(state, name)
            kept = [spec for spec in state.specs if spec not in chosen]
            ranges = _with_released(state.released, chosen)
            return msgspec.structs.replace(state, specs=kept, released=ranges, count=state.count - len(chosen))

        self._change(released)
        return chosen

    def forget(self, unwanted: Callable[[_Spec], bool], *, dry_run: bool = False) -> int:
        """Remove specs and released ranges from every file, damaged files whole; return how many all files had."""
        count = 0

        def forgotten(state: QuarantineState) -> QuarantineState | None:
            specs = [spec for spec in state.specs if not unwanted(spec)]
            released = [spec for spec in state.released if not unwanted(spec)]
            less = len(state.specs) - len(specs)
            if not less and len(released) == len(state.released):
                return None
            return msgspec.structs.replace(state, specs=specs, released=released, count=state.count - less)

        numbers = [0, *self._files.all()]
        if not dry_run:
            self._change(forgotten, damaged=QuarantineState())
        for number in numbers:  # rewritten under their numbers, so that no writer takes one again
            try:
                state = self._read(number)
            except Refused:
                if not dry_run:
                    self._storage.unlink(self._place(number))
                continue
            count += sum(map(unwanted, [*state.specs, *state.released]))
            changed = forgotten(state)
            if changed is not None and not dry_run:
                self._storage.write(self._place(number), QUARANTINE.encode(changed))
        return count

    def _place(self, number: int) -> UPath:
        return self._files.path(number) if number else self._storage.root / _FIRST_FILE

    def _change(
        self,
        change: Callable[[QuarantineState], QuarantineState | None],
        *,
        damaged: QuarantineState | None = None,
    ) -> None:
        """Write the changed state as the next file, of the state at that moment; nothing where it stays. A damaged one
        counts as `damaged`, and is an error without.
        """
        while True:
            number = max(self._files.all(), default=0)
            try:
                state = self._read(number)
            except Refused:
                if damaged is None:
                    raise
                state = damaged
            changed = change(state)
            if changed is None:
                return
            changed = msgspec.structs.replace(changed, writer=uuid.uuid4().hex)
            if self._files.create(number + 1, QUARANTINE.encode(changed)):
                break
        for path in list(self._files.all().values())[:-FILES_KEPT]:
            self._storage.unlink(path)


def _named(state: QuarantineState, name: str | None) -> list[Quarantined]:
    """Return the specs of a workload, all where None. Refused when there is none, or several workloads."""
    chosen = [spec for spec in state.specs if name in {None, spec.workload, spec.workload_name}]
    workloads = sorted({spec.workload for spec in chosen})
    if name is not None and len(workloads) > 1:
        raise Refused(f"{name} names several workloads: give one of {', '.join(workloads[:_MOST_NAMED])}")
    if not chosen:
        what = "nothing" if name is None else f"no spec of {name}"
        raise Refused(f"{what} is in quarantine: see `podpower models quarantine list`")
    return chosen


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
