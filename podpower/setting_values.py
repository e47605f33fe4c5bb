"""Parsers of the values of environment variables: texts, switches, lists and numbers within bounds.

Each raises InvalidInput, which `podpower.settings` completes with the variable's name.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from podpower.errors import InvalidInput


def plain(text: str) -> str:
    """Return the text as it is."""
    return text


def is_true(text: str) -> bool:
    """Return whether a switch is on: true, false, 1, 0, yes, no, on or off. InvalidInput for anything else."""
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise InvalidInput(f"{text!r} is neither true nor false")


def web_address(text: str) -> str:
    """Return an http or https URL without a slash at its end. InvalidInput for others, and for one with credentials."""
    try:
        parts = urlsplit(text.strip())
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port  # ValueError where it is no number
    except ValueError:
        known = False
    if not known or not text.isprintable() or " " in text.strip():
        raise InvalidInput("write an address such as https://podpower.example.org")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("leave user and password out: links would show them")
    return text.strip().rstrip("/")


def names(text: str) -> tuple[str, ...]:
    """Return names that commas or spaces separate."""
    return tuple(text.replace(",", " ").split())


def matchers(text: str) -> tuple[str, ...]:
    """Return texts that commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def headers(text: str) -> dict[str, str]:
    """Return HTTP headers from NAME=VALUE, separated by commas."""
    found = {}
    for part in matchers(text):
        name, separator, value = part.partition("=")
        if not separator:
            raise InvalidInput("write NAME=VALUE, e.g. X-Scope-OrgID=team-a")
        found[name.strip()] = value.strip()
    return found


def integer(*, least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > 12 or not least <= int(text) <= most:
            raise InvalidInput(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return parse


def number(*, most: float) -> Callable[[str], float]:
    """Return a parser of numbers above 0 and up to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value <= most:
            raise InvalidInput(f"{text!r} is not a number above 0 and up to {most:g}")
        return value

    return parse
