"""What an export of labels found: counts that people and checks read."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Counts of one export. `null_reasons` counts the steps (or jobs) without energy by reason."""

    generation: str
    energy: str
    pods: int
    rows: int
    known: int
    null_reasons: dict[str, int] = field(default_factory=dict)
    excluded_pseudo_pods: int = 0
    all_zero: bool = False
    total_energy_j: float = 0.0
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return asdict(self)
