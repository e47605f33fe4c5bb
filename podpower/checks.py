"""Result of a check of data: name, verdict, and explaining values. The checks of a package are in its `checks`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Record = Mapping[str, str | float | int | None]
# Text, a number, None for an unknown one, counts by reason, or the records of a table.
Value = str | float | int | None | Mapping[str, int] | Sequence[Record]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Verdict of one check. A failed `warning` is shown; any other failed check is an error."""

    name: str
    passed: bool
    description: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    warning: bool = False

    @property
    def is_error(self) -> bool:
        """Return True if it failed, and not as a warning."""
        return not self.passed and not self.warning


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return counts by reason, added up."""
    whole: Counter[str] = Counter()
    for one in counts:
        whole.update(one)
    return dict(whole)
