"""Result of a check of data: name, verdict, and explaining values. The checks of a package are in its `checks`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Text, a number, None for an unknown one, or counts by reason.
Value = str | float | int | None | Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Verdict of one check. A failed `warning` is shown; any other failed check is an error."""

    name: str
    passed: bool
    description: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    warning: bool = False
