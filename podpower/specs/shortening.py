"""Texts from outside, short enough for a message: an input can hold texts of any length."""

from typing import Final

_NAME_CHARACTERS: Final = 80  # Kubernetes allows 253
_DETAIL_CHARACTERS: Final = 500


def beginning(name: str) -> str:
    """Return a name of bounded length, without its end."""
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 3]}..."


def both_ends(detail: str) -> str:
    """Return a message of bounded length, without its middle."""
    half = _DETAIL_CHARACTERS // 2
    return detail if len(detail) <= _DETAIL_CHARACTERS else f"{detail[:half]} ... {detail[-half:]}"
