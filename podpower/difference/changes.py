"""Changed workloads between an old and a new input, and what they draw more or less."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final, Literal

import msgspec

from podpower.difference.intervals import Ends, Pair, correlation_of, difference_ends
from podpower.difference.words import differences
from podpower.impact.assessment import Assessment, Inputs
from podpower.model.predictor import Explanation, Prediction, Predictor, Total
from podpower.model.sums import summand_of
from podpower.model.totals import DEFAULT_LEVEL, PowerInterval, shared_correlation
from podpower.specs.documents import Rejected
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import WorkloadIdentity

_PRIOR = "prior"
_PART: Final = 128  # changes explained at a time
_Optional = float | msgspec.UnsetType | None


class Change(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One workload that is added, removed or changed. `old` and `new` are its predictions, `what` names the fields that
    differ. `delta_*` are new less old, null where a side is unknown; `delta_interval` is that of `delta_w`.
    """

    namespace: str
    workload_kind: str
    workload_name: str
    component: str | None
    cluster: str | None
    change: Literal["added", "removed", "changed"]
    what: list[str]
    old: Prediction | None
    new: Prediction | None
    delta_w: float | None
    delta_kwh_month: float | None
    delta_interval: PowerInterval | None
    delta_cost_month: _Optional = msgspec.UNSET
    delta_co2e_kg_month: _Optional = msgspec.UNSET


class Delta(msgspec.Struct, kw_only=True, frozen=True):
    """New less old of all workloads whose figures are known on both sides; `unknown` counts the other changes.

    `kwh_interval` is [low, high] of `kwh_month` at the level of `total_interval`.
    """

    total_avg_power_w: float
    total_interval: PowerInterval
    kwh_month: float
    kwh_interval: tuple[float, float]
    unknown: int
    cost_month: _Optional = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    co2e_kg_month: _Optional = msgspec.UNSET


class Totals(msgspec.Struct, kw_only=True, frozen=True):
    """Sums of both sides, and their difference."""

    old: Total
    new: Total
    delta: Delta


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Changes, the largest first, and totals; `unchanged` counts the workloads that are the same on both sides."""

    changes: Sequence[Change]
    total: Totals
    unchanged: int
    errors: Sequence[Rejected] = field(default_factory=tuple)

    def answer(self, inputs: Inputs) -> dict[str, Any]:
        """Return plain values, shaped as `POST /diff` answers."""
        return {
            "changes": msgspec.to_builtins(self.changes),
            "total": msgspec.to_builtins(self.total),
            "unchanged": self.unchanged,
            "errors": msgspec.to_builtins(self.errors),
            "inputs": inputs.described(),
        }


# Thousands of these live at a time: garbage collections do not look at them, which delays whoever waits meanwhile.
class _Side(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    request: InferenceRequest
    prediction: Prediction


class _Name(msgspec.Struct, frozen=True, gc=False):
    identity: WorkloadIdentity
    place: int  # among those that share it


_Both = tuple[_Side | None, _Side | None]


def difference(predictor: Predictor, old: Assessment, new: Assessment) -> Difference:
    """Return what is different between two assessed inputs, both predicted by `predictor`."""
    before, after = _sides(old, new)
    names = list(dict.fromkeys([*after, *before]))
    changed = [name for name in names if not _same(before.get(name), after.get(name))]
    sides = [(before.get(name), after.get(name)) for name in changed]
    known = [place for place, (a, b) in enumerate(sides) if _known(a) and _known(b)]
    shared = shared_correlation(predictor.model.training_size["workloads"])
    ends = difference_ends(_pairs(predictor, [sides[place] for place in known]), count=len(known), shared=shared)
    intervals = dict(zip(known, ends.pairs_w, strict=True))
    changes = [_change(*pair, ends_w=intervals.get(place)) for place, pair in enumerate(sides)]
    changes.sort(key=lambda change: (-abs(change.delta_w or 0.0), change.namespace, change.workload_name))
    return Difference(
        changes=changes,
        total=Totals(old=old.total, new=new.total, delta=_delta(changes, ends, new.total)),
        unchanged=len(names) - len(changed),
        errors=[*old.errors, *new.errors],
    )


def _sides(old: Assessment, new: Assessment) -> tuple[dict[_Name, _Side], dict[_Name, _Side]]:
    """Return the workloads of both inputs by name, without those that are given again later."""
    before, after = _by_identity(old), _by_identity(new)
    found: tuple[dict[_Name, _Side], dict[_Name, _Side]] = ({}, {})
    for identity in dict.fromkeys([*after, *before]):
        pairs = _paired(before.get(identity, []), after.get(identity, []))
        for place, pair in enumerate(pairs):
            for side, named in zip(pair, found, strict=True):
                if side is not None:
                    named[_Name(identity, place)] = side
    return found


def _by_identity(of: Assessment) -> dict[WorkloadIdentity, list[_Side]]:
    found: dict[WorkloadIdentity, list[_Side]] = {}
    for place, (request, prediction) in enumerate(zip(of.requests, of.predictions, strict=True)):
        if place not in of.repeated:
            found.setdefault(WorkloadIdentity.of(request), []).append(_Side(request=request, prediction=prediction))
    return found


def _paired(old: Sequence[_Side], new: Sequence[_Side]) -> Iterable[tuple[_Side | None, _Side | None]]:
    """Pair workloads that share a name, as objects of one `generateName` do: equal ones first, the rest in order."""
    if len(old) <= 1 and len(new) <= 1:
        return zip_longest(old, new)
    waiting: dict[str, deque[_Side]] = {}
    for side in old:
        waiting.setdefault(side.prediction.spec_hash, deque()).append(side)
    equal = [(waiting[hashed].popleft(), side) for side in new if waiting.get(hashed := side.prediction.spec_hash)]
    taken = {id(side) for pair in equal for side in pair}
    old_rest, new_rest = ([side for side in sides if id(side) not in taken] for sides in (old, new))
    return [*equal, *zip_longest(old_rest, new_rest)]


def _same(old: _Side | None, new: _Side | None) -> bool:
    """Return whether nothing that decides energy is different; labels and annotations do not."""
    if old is None or new is None:
        return False
    a, b = (msgspec.structs.replace(s.request, labels={}, annotations={}, replicas_source=None) for s in (old, new))
    if a == b:
        return True
    same_pods = old.prediction.replicas == new.prediction.replicas
    return old.prediction.spec_hash == new.prediction.spec_hash and same_pods and not differences(a, b)


def _known(side: _Side | None) -> bool:
    return side is None or side.prediction.total_avg_power_w is not None


def _pairs(predictor: Predictor, sides: Sequence[_Both]) -> Iterator[Pair]:
    """Yield the pair of each change, a few of which are explained at a time: explanations are large."""
    for start in range(0, len(sides), _PART):
        part = sides[start : start + _PART]
        weights = _weights(predictor, [side for both in part for side in both if side is not None])
        for old, new in part:
            yield _pair(predictor, old, new, weights)


def _weights(predictor: Predictor, sides: Sequence[_Side]) -> dict[int, dict[str, float]]:
    """Return the share of each neighbour and of the prior in each prediction, by the identity of the side."""
    explained: Iterable[Explanation] = predictor.explain([side.request for side in sides]) if sides else ()
    found = {}
    for side, one in zip(sides, explained, strict=True):
        weights = {_PRIOR: one.prior_weight}
        for n in one.neighbours:
            name = "/".join((n.cluster or "", n.namespace, n.workload_kind, n.workload_name, n.spec_hash))
            weights[name] = weights.get(name, 0.0) + n.weight
        found[id(side)] = weights
    return found


def _pair(predictor: Predictor, old: _Side | None, new: _Side | None, weights: dict[int, dict[str, float]]) -> Pair:
    before = summand_of(old.prediction) if old else None
    after = summand_of(new.prediction) if new else None
    correlation = 0.0
    if old and new and before and after:
        correlation = correlation_of(
            predictor.model.intervals, old=before, new=after, old_weights=weights[id(old)],
            new_weights=weights[id(new)], same_spec=old.prediction.spec_hash == new.prediction.spec_hash,
        )  # fmt: skip
    return Pair(
        old=before, new=after, correlation=correlation, old_kwh_per_w=_kwh_per_w(old), new_kwh_per_w=_kwh_per_w(new)
    )


def _kwh_per_w(side: _Side | None) -> float | None:
    if side is None or side.prediction.kwh_month is None:
        return None
    watts = side.prediction.total_avg_power_w
    return side.prediction.kwh_month / watts if watts else 0.0


def _change(old: _Side | None, new: _Side | None, *, ends_w: tuple[float, float] | None) -> Change:
    side = new or old
    if side is None:
        raise AssertionError("a change has a side")
    before, after = old.prediction if old else None, new.prediction if new else None
    priced = {
        f"delta_{name}": _less(before, after, name)
        for name in ("cost_month", "co2e_kg_month")
        if any(p is not None and getattr(p, name) is not msgspec.UNSET for p in (before, after))
    }
    return Change(
        namespace=side.request.namespace,
        workload_kind=side.request.workload_kind,
        workload_name=side.request.workload_name,
        component=side.request.component,
        cluster=side.request.cluster,
        change="added" if old is None else "removed" if new is None else "changed",
        what=differences(old.request, new.request) if old and new else [],
        old=before,
        new=after,
        delta_w=_less(before, after, "total_avg_power_w"),
        delta_kwh_month=_less(before, after, "kwh_month"),
        delta_interval=None if ends_w is None else PowerInterval(level=DEFAULT_LEVEL, avg_power_w=ends_w),
        **priced,
    )


def _less(old: Prediction | None, new: Prediction | None, name: str) -> float | None:
    """Return new less old of a figure, an absent side being 0; None where one is unknown."""
    values = [0.0 if side is None else getattr(side, name) for side in (old, new)]
    return None if any(value is None or value is msgspec.UNSET for value in values) else values[1] - values[0]


def _delta(changes: Sequence[Change], ends: Ends, new: Total) -> Delta:
    def summed(name: str) -> float:
        return math.fsum(value for change in changes if (value := getattr(change, name)) is not None)

    priced: dict[str, Any] = {}
    if new.cost_month is not msgspec.UNSET:
        priced |= {"cost_month": summed("delta_cost_month"), "currency": new.currency}
    if new.co2e_kg_month is not msgspec.UNSET:
        priced["co2e_kg_month"] = summed("delta_co2e_kg_month")
    kwh = summed("delta_kwh_month")
    low, high = ends.total_kwh
    return Delta(
        total_avg_power_w=summed("delta_w"),
        total_interval=PowerInterval(level=DEFAULT_LEVEL, avg_power_w=ends.total_w),
        kwh_month=kwh,
        kwh_interval=(min(low, kwh), max(high, kwh)),
        unknown=sum(change.delta_w is None or change.delta_kwh_month is None for change in changes),
        **priced,
    )
