"""Rows of docs/reference/settings.md, from the fields of the settings."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from podpower.setting_fields import DESCRIPTION, VARIABLE
from podpower.settings import GROUPS


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One row of the reference."""

    name: str
    description: str
    default: str


def reference() -> Iterator[tuple[str, list[Variable]]]:
    """Yield each group's description and its variables, for docs/reference/settings.md."""
    for group in GROUPS:
        yield (
            group.__doc__ or "",
            [
                Variable(name=f.metadata[VARIABLE], description=f.metadata[DESCRIPTION], default=_shown(f.default))
                for f in dataclasses.fields(group)
            ],
        )


def _shown(default: Any) -> str:
    if default is None or default in {"", ()} or default is dataclasses.MISSING:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
