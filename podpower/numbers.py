"""Numbers in texts from outside: options, variables, queries and files.

Python's `float` and `int` read more than people write: `1_0` is 10 to them, and so are Arabic digits. Here digits are
those of ASCII.
"""

import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MOST_CHARACTERS: Final = 64
_MOST_DIGITS: Final = 18  # of a whole number: what 64 bits hold


def number_in(text: str) -> float | None:
    """Return the finite number that a text is; None where it is none.

    >>> number_in("0.31"), number_in("-1e3"), number_in("1_0"), number_in("١٠"), number_in("nan")
    (0.31, -1000.0, None, None, None)
    """
    text = text.strip()
    if len(text) > _MOST_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def whole_number_in(text: str) -> int | None:
    """Return the whole number, at least 0, that a text of digits is; None where it is none.

    >>> whole_number_in("010"), whole_number_in("1_0"), whole_number_in("١٠"), whole_number_in("-1")
    (10, None, None, None)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None
