"""Figures beside their goals, as a table."""

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """A figure beside its goal."""

    name: str
    figure: str
    goal: str
    met: bool


def show(rows: Sequence[Row]) -> int:
    """Print the rows; return 1 where a goal is missed, else 0."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"  {row.name:<{width}}  {row.figure:>22}  goal {row.goal:<18} {'met' if row.met else 'MISSED'}")
    return 0 if all(row.met for row in rows) else 1
