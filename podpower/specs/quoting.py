"""Texts from outside in messages: without credentials and control characters, and of bounded length."""

import re
from typing import Any, Final

from podpower.specs.redaction import redact_text

NAME_CHARACTERS: Final = 80  # Kubernetes allows 253
_DETAIL_CHARACTERS: Final = 500
_LARGE: Final = 10**30
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
# Control characters, invisible ones, and those that change the direction of a text.
UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text without characters that a terminal obeys or hides."""
    return UNPRINTABLE.sub(" ", text)


def quoted(value: Any, *, most: int = NAME_CHARACTERS) -> str:
    r"""Return a text from outside, or another value, as a message can show it.

    >>> quoted("web"), quoted("token=hunter2"), quoted("a\x1b[2Jb")
    ('web', 'token=<redacted>', 'a [2Jb')
    """
    text = redact_text(printable(_text(value)[: 4 * most]))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _text(value: Any) -> str:
    """Return a value as YAML and JSON write it; of a list or a mapping only its type."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGE):
        return f"{value}"
    return {int: "a very large number", list: "a list", dict: "a mapping"}.get(type(value), "this value")


def both_ends(detail: str) -> str:
    """Return a message of bounded length, without its middle."""
    half = _DETAIL_CHARACTERS // 2
    return detail if len(detail) <= _DETAIL_CHARACTERS else f"{detail[:half]} ... {detail[-half:]}"


def cell(value: Any) -> Any:
    """Return a value for a cell of CSV; a text that a spreadsheet would compute begins with an apostrophe.

    >>> cell("=1+1"), cell("web"), cell(-1.5), cell(None)
    ("'=1+1", 'web', -1.5, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text
