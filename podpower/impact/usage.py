"""Usage file: hours a month, load and replicas of workloads, where a manifest cannot know them.

shop/web:              # namespace/name; or name, Kind/name, namespace/Kind/name; * matches any text
  hours_month: 200     # of 730
  load: 1.5            # dynamic power relative to that of a typical hour
  replicas: 4
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.io.config_files import read_config
from podpower.io.places import AnyPath
from podpower.kubernetes.kinds import JOB_KINDS
from podpower.kubernetes.limits import MAX_COUNT
from podpower.model.predictor import Interval, Prediction
from podpower.model.totals import PowerInterval
from podpower.specs.documents import Rejected, read_objects
from podpower.specs.quoting import quoted
from podpower.specs.requests import InferenceRequest
from podpower.specs.schedules import HOURS_PER_MONTH

MOST_LOAD: Final = 1000.0
_SOURCE: Final = "the usage file"
_MOST_ENTRIES: Final = 10_000
_NAMED: Final = 5
_SHAPE: Final = "a workload such as shop/web with hours_month, load or replicas"


class WorkloadUsage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Usage of one workload; None: as predicted. `hours_month` are of 730, `load` scales the dynamic power."""

    hours_month: Annotated[float, msgspec.Meta(ge=0, le=HOURS_PER_MONTH)] | None = None
    load: Annotated[float, msgspec.Meta(ge=0, le=MOST_LOAD)] | None = None
    replicas: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None = None


@dataclass(frozen=True)
class Usage:
    """Usage of workloads by name or pattern; an exact name counts before a pattern, a longer pattern before a
    shorter one.
    """

    entries: Mapping[str, WorkloadUsage] = field(default_factory=dict)

    def of(self, request: InferenceRequest) -> WorkloadUsage | None:
        """Return the usage of a workload; None where no entry matches it."""
        name = self._name_of(request)
        return None if name is None else self.entries[name]

    def unused(self, requests: Sequence[InferenceRequest]) -> list[str]:
        """Return the entries that match none of these workloads."""
        used = {self._name_of(request) for request in requests}
        return [name for name in self.entries if name not in used]

    def unused_line(self, requests: Sequence[InferenceRequest]) -> str:
        """Return a sentence on the entries that match none of these workloads; empty where all do."""
        unused = self.unused(requests)
        if not unused:
            return ""
        more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
        return f"the usage has entries that match no workload: {', '.join(unused[:_NAMED])}{more}"

    def _name_of(self, request: InferenceRequest) -> str | None:
        namespace, kind, name = request.namespace, request.workload_kind, request.workload_name
        names = (f"{namespace}/{kind}/{name}", f"{namespace}/{name}", f"{kind}/{name}", name)
        for own in names:
            if own in self.entries:
                return own
        patterns = [p for p in self._patterns if any(fnmatchcase(own, p) for own in names)]
        return max(patterns, key=len, default=None)

    @property
    def _patterns(self) -> list[str]:
        return [name for name in self.entries if "*" in name]


def read_usage(path: AnyPath) -> Usage:
    """Return the usage in a file. InvalidInput names the entry and what is wrong."""
    return usage_from(read_config(path), source=str(path))


def usage_in(text: str) -> Usage:
    """Return the usage in a text that somebody sends. InvalidInput names the entry and what is wrong."""
    source = "the usage"
    found = list(read_objects(text.encode("utf-8", "surrogatepass"), source=source))
    if len(found) != 1 or isinstance(found[0], Rejected):
        why = found[0].detail if found and isinstance(found[0], Rejected) else f"write {_SHAPE}"
        raise InvalidInput(f"{source}: {why}")
    return usage_from(found[0], source=source)


def usage_from(content: Any, *, source: str) -> Usage:
    """Return the usage in plain values. InvalidInput names `source`, the entry and what is wrong."""
    if isinstance(content, dict) and set(content) == {"workloads"}:
        content = content["workloads"]
    if not isinstance(content or {}, dict) or len(content or {}) > _MOST_ENTRIES:
        raise InvalidInput(f"{source} must name at most {_MOST_ENTRIES} workloads: {_SHAPE}")
    entries = {}
    for name, value in (content or {}).items():
        shown = quoted(name)
        if not isinstance(name, str) or not isinstance(value, dict):
            raise InvalidInput(f"{source}: {shown} must be {_SHAPE}")
        known = WorkloadUsage.__struct_fields__
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key)[:40], known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise InvalidInput(f"{source}: {shown} has no {quoted(key)}; {hint}")
        try:
            entries[name] = msgspec.convert(value, WorkloadUsage)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for half of a surrogate pair
            raise InvalidInput(f"{source}: {shown}: {error}".replace(" - at `$.", " at `")) from None
    return Usage(entries)


def with_replicas(request: InferenceRequest, usage: WorkloadUsage | None) -> InferenceRequest:
    """Return the request with the number of pods of the usage."""
    if usage is None or usage.replicas is None:
        return request
    changes: dict[str, Any] = {"replicas_source": _SOURCE, "replicas_range": None}
    changes["parallelism" if request.workload_kind in JOB_KINDS else "replicas"] = usage.replicas
    return msgspec.structs.replace(request, **changes)


def with_usage(prediction: Prediction, usage: WorkloadUsage | None) -> Prediction:
    """Return the prediction at the load and for the hours of the usage.

    Load scales the power of a pod; hours scale what is a mean over the month: `total_avg_power_w` and `kwh_month`.
    """
    if usage is None or (usage.load is None and usage.hours_month is None):
        return prediction
    load = 1.0 if usage.load is None else usage.load
    share = 1.0 if usage.hours_month is None else usage.hours_month / HOURS_PER_MONTH
    notes = list(prediction.notes)
    if usage.load is not None:
        notes.append(f"load {load:g} of a typical hour, from {_SOURCE}")
    if usage.hours_month is not None:
        hours = f"{usage.hours_month:g} of {HOURS_PER_MONTH:g} hours a month, from {_SOURCE}"
        notes.append(f"it runs {hours}; W in all is the mean over the month")

    def scaled(interval: Interval) -> Interval:
        step, power = interval.energy_step_j, interval.avg_power_w
        return Interval(
            level=interval.level,
            energy_step_j=(step[0] * load, step[1] * load),
            avg_power_w=(power[0] * load, power[1] * load),
        )

    def times(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    of_all = prediction.total_interval
    both = load * share
    return msgspec.structs.replace(
        prediction,
        pred_energy_step_j=prediction.pred_energy_step_j * load,
        pred_avg_power_w=prediction.pred_avg_power_w * load,
        pred_total_energy_j=times(prediction.pred_total_energy_j, load),
        expected_avg_power_w=prediction.expected_avg_power_w * load,
        total_avg_power_w=times(prediction.total_avg_power_w, both),
        total_interval=None if of_all is None else PowerInterval(
            level=of_all.level, avg_power_w=(of_all.avg_power_w[0] * both, of_all.avg_power_w[1] * both)
        ),
        total_energy_j=times(prediction.total_energy_j, load),
        kwh_month=times(prediction.kwh_month, both),
        interval=scaled(prediction.interval),
        intervals=[scaled(interval) for interval in prediction.intervals],
        notes=notes,
    )  # fmt: skip
