"""Hours that changed and are not requested yet, and when each is due: the policy of `workload_changes`."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from podpower.hours import HOUR_S, start_of_hour
from podpower_assets.partitions import consecutive, hour_key, hour_start_s, hours_between
from podpower_assets.policies import (
    FIRST_SAMPLES_S,
    HOUR_ENDS_AFTER_S,
    HOUR_EVERY_S,
    LATE_WAITS_S,
    MISSED_AFTER_S,
    NEW_SPEC_EVERY_S,
    Requested,
)


class Pending(msgspec.Struct):
    """State that one look at a cluster leaves to the next: the position in its source, the hours that changed and when
    that was seen last, when the first and the last spec that is not followed yet was seen, the requests so far, the
    end of the last hour that was looked at after its end (None: none was), the hours with incomplete labels, and when
    any of these was requested last.
    """

    source: str | None = None
    hours: dict[str, float] = {}
    new_specs: tuple[float, float] | None = None
    last_s: float | None = None
    requests: int = 0
    ended_s: float | None = None
    late: dict[str, Requested] = {}
    late_s: float = 0.0

    def ended(self, *, now_s: float, lookback_s: float) -> list[str]:
        """Return the hours that ended long enough ago and were not looked at since; from now on they were. The first
        time these are the hours of the time `lookback_s`.
        """
        start_s, end_s = self.ended_s, start_of_hour(now_s - MISSED_AFTER_S)
        self.ended_s = end_s
        return hours_between(end_s - lookback_s if start_s is None else start_s, end_s)

    def again(self, incomplete: Mapping[str, float], *, now_s: float) -> list[str]:
        """Return hours that are due to be made again, of those with incomplete labels, given by when these began to be
        made: one run an hour, the longest one. From now on they were requested; an hour that is not given any more is
        forgotten.
        """
        self.late = {hour: self.late.get(hour, Requested()) for hour in incomplete}
        due = [hour for hour, one in self.late.items() if _is_late(one, made_s=incomplete[hour], now_s=now_s)]
        if not due or now_s - self.late_s < HOUR_S:
            return []
        chosen = max(consecutive(due), key=len)
        self.late |= {hour: self.late[hour].once_more(now_s) for hour in chosen}
        self.late_s = now_s
        return chosen

    def mark(self, hours: Iterable[str], *, now_s: float, new_specs: bool) -> None:
        """Add changed hours; `new_specs`: a spec that was never seen before is among the changes."""
        self.hours |= dict.fromkeys(hours, now_s)
        if new_specs:
            self.new_specs = (self.new_specs[0] if self.new_specs else now_s, now_s)
            self.hours[hour_key(now_s)] = now_s

    def forget(self, remade: Mapping[str, float]) -> None:
        """Remove hours that were made, by when that began, after their change was seen."""
        self.hours = {hour: at_s for hour, at_s in self.hours.items() if remade.get(hour, 0.0) <= at_s}

    def due(self, *, now_s: float, busy: bool, every_s: float = HOUR_EVERY_S) -> list[str]:
        """Return the hours to request now, oldest first; `busy`: the running one is being made, or its run waits. With
        another `every_s` all waits for the running hour change in proportion.
        """
        scale = every_s / HOUR_EVERY_S
        return sorted(hour for hour in self.hours if self._is_due(hour, now_s, busy=busy, scale=scale))

    def requested(self, hours: Collection[str], *, now_s: float, every_s: float = HOUR_EVERY_S) -> None:
        """Remove hours that are requested. Specs that are too new to have samples are followed once more."""
        running = hour_key(now_s)
        self.hours = {hour: at_s for hour, at_s in self.hours.items() if hour not in hours}
        self.requests += 1
        if running in hours:
            self.last_s = now_s
            settled_s = now_s - FIRST_SAMPLES_S * every_s / HOUR_EVERY_S
            if self.new_specs and self.new_specs[1] > settled_s:
                self.new_specs = (max(self.new_specs[0], settled_s), self.new_specs[1])
                self.hours[running] = now_s
            else:
                self.new_specs = None

    def _is_due(self, hour: str, now_s: float, *, busy: bool, scale: float) -> bool:
        if self.last_s is None:  # a new cluster: one range, which the encoder is fitted on
            return True
        end_s = hour_start_s(hour) + HOUR_S
        if end_s <= now_s:
            return now_s - end_s >= HOUR_ENDS_AFTER_S
        if busy:
            return False
        due_s = self.last_s + HOUR_EVERY_S * scale
        if self.new_specs:
            due_s = max(self.new_specs[0] + FIRST_SAMPLES_S * scale, self.last_s + NEW_SPEC_EVERY_S * scale)
        return now_s >= max(due_s, hour_start_s(hour) + FIRST_SAMPLES_S * scale)


def _is_late(one: Requested, *, made_s: float, now_s: float) -> bool:
    """Return whether the next wait has passed, of which each comes once."""
    return one.requests < len(LATE_WAITS_S) and now_s - max(one.at_s, made_s) >= LATE_WAITS_S[one.requests]
