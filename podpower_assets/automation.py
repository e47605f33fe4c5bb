"""The condition that carries changes downstream: a partition is remade when it was made from something else than what
is there now.

Versions are read at each evaluation and only requests are remembered, so that no update is lost, including one that
arrives while a run is in progress.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg
import msgspec
from dagster._core.asset_graph_view.entity_subset import EntitySubset

from podpower.hours import DAY_S, HOUR_S
from podpower_assets.history import History, keys_of
from podpower_assets.partitions import day_key, hour_key, hours_between
from podpower_assets.policies import (
    FIRST_DAY_S,
    HOUR_EVERY_S,
    LATER_MODEL_EVERY_S,
    MODEL_EVERY_S,
    NEW_SPEC_EVERY_S,
    PARTITIONS_A_RUN,
    QUARTER_S,
    RUNS_A_TICK,
    wait_s,
)
from podpower_assets.upstream import Upstream
from podpower_assets.versions import WHOLE, Recorded, is_stale, new_specs

_Last = tuple[str, str, Recorded]  # an asset, a partition, its last materialization


class _Attempt(msgspec.Struct):
    """Requests of a partition that brought no materialization: how many, when the last, and from which versions."""

    number: int
    at_s: float
    of: str


class _Memory(msgspec.Struct):
    """Memory of one evaluation for the next. Of a paced asset, the first and the last request."""

    at_s: float = 0.0
    attempts: dict[str, _Attempt] = {}
    first_s: float | None = None
    last_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The least time between two requests of an asset: in its first day, later, and for specs that it does not know."""

    first_day_s: float = MODEL_EVERY_S
    later_s: float = LATER_MODEL_EVERY_S
    new_specs_s: float = NEW_SPEC_EVERY_S

    @classmethod
    def of(cls, every_s: float) -> "Pace":
        """Return the pace of a platform whose running hour is made again so often."""
        return cls(first_day_s=every_s, new_specs_s=NEW_SPEC_EVERY_S * every_s / HOUR_EVERY_S)

    def allows(self, now_s: float, *, first_s: float, last_s: float, new: bool) -> bool:
        """Return whether enough time has passed since the last request; `new`: for specs that it does not know."""
        usual_s = self.first_day_s if now_s - first_s < FIRST_DAY_S else self.later_s
        return now_s - last_s >= (min(usual_s, self.new_specs_s) if new else usual_s)


@dataclass(frozen=True, kw_only=True)
class Remake(dg.AutomationCondition):
    """True for partitions that were made from something else than what is there now, and for those that failed, again
    after longer and longer waits. Partitions before the last `lookback_days` are left to whoever asks for them.

    `needed` are dependencies without which nothing can be made. What is requested of the dependencies with the same
    partitions is requested here too: it becomes one run. `checks_must_pass`: it takes a result of every blocking check
    of the dependencies; otherwise only failed ones stop it. With a `pace` the latest partition only is requested.
    """

    upstream: Upstream
    lookback_days: int
    needed: tuple[dg.AssetKey, ...] = ()
    pace: Pace | None = None
    checks_must_pass: bool = False

    async def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """Return the partitions to request now."""
        evaluation = _Evaluation(self, context)
        chosen, memory = await evaluation.requested()
        return dg.AutomationResult(context, evaluation.subset(chosen), cursor=msgspec.json.encode(memory).decode())


class _Evaluation:
    """One evaluation of the condition of one asset."""

    def __init__(self, condition: Remake, context: dg.AutomationContext) -> None:
        self._condition, self._context, self._history = condition, context, History(context)
        self._now_s = context.evaluation_time.timestamp()
        self._memory = msgspec.json.decode(context.cursor, type=_Memory) if context.cursor else _Memory()
        self._keys = self._recent()
        self._own = self._history.recorded(context.key, self._keys)
        upstream = condition.upstream.of([key for key in self._keys if key != WHOLE])
        self._upstream = {
            asset: self._history.recorded(asset, [WHOLE] if keys is None else keys) for asset, keys in upstream.items()
        }
        self._checked = {
            asset: self._history.checked(asset, keys) for asset, keys in upstream.items() if keys is not None
        }
        self._requested = self._requested_upstream()

    async def requested(self) -> tuple[list[str], _Memory]:
        """Return the partitions to request now, oldest first, and what the next evaluation has to know."""
        failed = await self._history.failed(self._context.key, self._keys)
        busy = await self._busy()
        chosen, kept = dict[str, _Attempt](), dict[str, _Attempt]()
        for key in reversed(self._keys):  # the latest first: more than a tick may request is left to later ones
            last = self._last(key)
            if not (key in failed or key in self._requested or self._is_stale(key, last)):
                continue
            attempt, of = self._memory.attempts.get(key), self._digest(key, last)
            same = attempt if attempt is not None and attempt.of == of else None
            due = key in self._requested or self._is_due(same, last, failed=key in failed)
            if due and key not in busy and not self._is_blocked(key) and len(chosen) < PARTITIONS_A_RUN * RUNS_A_TICK:
                chosen[key] = _Attempt(number=same.number + 1 if same else 1, at_s=self._now_s, of=of)
            elif attempt is not None:
                kept[key] = attempt
        memory = _Memory(
            at_s=self._now_s, attempts=kept | chosen, first_s=self._memory.first_s, last_s=self._memory.last_s
        )
        if self._condition.pace and chosen:
            memory.first_s, memory.last_s = memory.first_s or self._now_s, self._now_s
        return sorted(chosen), memory

    def subset(self, keys: Collection[str]) -> EntitySubset[dg.AssetKey]:
        """Return the keys as a subset of the asset."""
        candidates = self._context.candidate_subset
        if self._context.partitions_def is None:
            return candidates if keys else self._context.get_empty_subset()
        return candidates.compute_intersection_with_partition_keys(set(keys))

    def _recent(self) -> list[str]:
        """Return the partitions of the last days that exist, oldest first."""
        definition = self._context.partitions_def
        if definition is None:
            return [WHOLE]
        hours = hours_between(self._now_s - self._condition.lookback_days * DAY_S, self._now_s + 1)
        is_hourly = isinstance(definition, dg.TimeWindowPartitionsDefinition) and definition.is_basic_hourly
        keys = hours if is_hourly else {hour[: len(day_key(0))] for hour in hours}
        return sorted(keys_of(self.subset(keys)))

    def _last(self, key: str) -> list[_Last]:
        """Return the last materializations of what a partition is made from; of a window, without those whose check
        failed.
        """
        found: list[_Last] = []
        if key == WHOLE:
            return found
        for asset, keys in self._condition.upstream.of([key]).items():
            for one in [WHOLE] if keys is None else keys:
                last = self._upstream[asset].get(one)
                bad = asset in self._condition.upstream.window and self._checked[asset].get(one) is False
                if last is not None and not bad:
                    found.append((asset.to_user_string(), one, last))
        return found

    def _is_stale(self, key: str, last: Sequence[_Last]) -> bool:
        """Return whether a partition has to be made anew. Where the latest day has no model, that of the day before
        counts: time alone is no reason for a new one.
        """
        if self._condition.pace is None:
            whole = {asset.to_user_string() for asset in self._condition.upstream.whole}
            own = self._own.get(key)
            return is_stale(own, last if own else [one for one in last if one[0] not in whole])
        return key == self._keys[-1] and is_stale(self._model(), last)

    def _model(self) -> Recorded | None:
        """Return the last materialization of a paced asset."""
        latest = [self._own[key] for key in self._keys[-2:] if key in self._own]
        return max(latest, key=lambda one: one.storage_id, default=None)

    def _is_due(self, same: _Attempt | None, last: Sequence[_Last], *, failed: bool) -> bool:
        """Return whether the time to request a partition has come; `same`: the attempts to make it from this."""
        if same is not None:
            return self._now_s >= same.at_s + wait_s(same.number)
        if failed:
            return 0 < self._memory.at_s // QUARTER_S < self._now_s // QUARTER_S
        memory, pace = self._memory, self._condition.pace
        if pace is None or memory.last_s is None or memory.first_s is None:
            return True
        recent = {hour_key(self._now_s - HOUR_S), hour_key(self._now_s)}
        new = new_specs(self._model(), [one for one in last if one[1] in recent])
        return pace.allows(self._now_s, first_s=memory.first_s, last_s=memory.last_s, new=new)

    def _is_blocked(self, key: str) -> bool:
        """Return whether something is missing, or a check failed, of what is not requested together with it."""
        upstream = self._condition.upstream
        for asset in (*upstream.same, *upstream.whole):
            if asset in self._requested_assets(key):
                continue
            if asset in self._condition.needed and key not in self._upstream[asset]:
                return True
            if asset in upstream.same and key != WHOLE:
                passed = self._checked[asset].get(key)
                if passed is False or (self._condition.checks_must_pass and passed is None):
                    return True
        return False

    async def _busy(self) -> set[str]:
        """Return the partitions that runs make now, or whose upstream is being made: they would be made twice."""
        upstream = self._condition.upstream
        busy = await self._history.in_progress(self._context.key)
        for asset in upstream.same:
            busy |= await self._history.in_progress(asset)
        recent = {hour_key(self._now_s - HOUR_S), hour_key(self._now_s)}
        for asset in upstream.window:
            if recent & await self._history.in_progress(asset):
                busy.add(self._keys[-1])  # what is being made of the last two hours only: a backfill stops no training
        return busy

    def _requested_upstream(self) -> dict[str, set[dg.AssetKey]]:
        """Return the dependencies that are requested at this evaluation, by partition."""
        found: dict[str, set[dg.AssetKey]] = {}
        for asset in self._condition.upstream.same:
            subset = self._context.request_subsets_by_key.get(asset)
            for key in () if subset is None else keys_of(subset):
                found.setdefault(key, set()).add(asset)
        return found

    def _requested_assets(self, key: str) -> set[dg.AssetKey]:
        return self._requested.get(key, set())

    def _digest(self, key: str, last: Sequence[_Last]) -> str:
        """Return what an attempt is made from: another upstream, or a success since, makes it another attempt."""
        own = self._own.get(key)
        parts = [str(own.storage_id if own else 0), *(f"{asset} {one} {r.version}" for asset, one, r in last)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
