"""Upstream of an asset: which partitions a partition of it is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from podpower.hours import DAY_S
from podpower_assets.partitions import day_end_s, hours_between


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Assets that a partition is made from: their partition of the `same` key, all hours of the window that ends with a
    day, and assets that have no partitions and are read as a `whole`. Those of `unchecked` assets have the same key
    too, and are read whatever their checks.
    """

    same: tuple[dg.AssetKey, ...] = ()
    unchecked: tuple[dg.AssetKey, ...] = ()
    whole: tuple[dg.AssetKey, ...] = ()
    window: tuple[dg.AssetKey, ...] = ()
    window_days: int = 0

    def of(self, partitions: Sequence[str]) -> dict[dg.AssetKey, list[str] | None]:
        """Return the upstream partitions of these; None for an asset without partitions."""
        hours = sorted({hour for day in partitions for hour in self._hours(day)}) if self.window else []
        found: dict[dg.AssetKey, list[str] | None] = dict.fromkeys(self.whole)
        found |= {asset: list(partitions) for asset in (*self.same, *self.unchecked)}
        return found | dict.fromkeys(self.window, hours)

    def _hours(self, day: str) -> list[str]:
        end_s = day_end_s(day)
        return hours_between(end_s - self.window_days * DAY_S, end_s)
