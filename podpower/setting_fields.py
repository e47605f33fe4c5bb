"""Fields of settings: each with its environment variable, description, parser and default."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from podpower.setting_values import plain

VARIABLE, DESCRIPTION, PARSE = "variable", "description", "parse"  # in the metadata of a field


def setting(
    variable: str, description: str, *, parse: Callable[[str], Any] = plain, default: Any = None, secret: bool = False
) -> Any:
    """Return the field of a setting that `parse` reads from `variable`. A `secret` one is left out of its `repr`."""
    metadata = {VARIABLE: variable, DESCRIPTION: description, PARSE: parse}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)
