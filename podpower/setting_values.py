"""Parsers of the values of environment variables: texts, switches, lists and numbers within bounds.

Each raises InvalidInput, which `podpower.settings` completes with the variable's name.
"""

from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from podpower.errors import InvalidInput
from podpower.numbers import number_in, whole_number_in


class KeyedAddress(str):
    """An address whose service needs the API key in `key_file`."""

    __slots__ = ("key_file",)
    key_file: str | None

    def __new__(cls, address: str, key_file: str | None = None) -> Self:
        """Return the address, which is a text wherever no key is needed."""
        made = super().__new__(cls, address)
        made.key_file = key_file
        return made


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


def origins(text: str) -> tuple[str, ...]:
    """Return web origins that commas or spaces separate, such as https://grafana.example.org; `*` is all. InvalidInput
    for others.
    """
    found = names(text)
    for origin in found:
        parts = urlsplit(web_address(origin)) if origin != "*" else None
        if parts is not None and (parts.path or origin != origin.strip().rstrip("/")):
            raise InvalidInput(f"{origin!r} is no origin: write scheme and host only, e.g. https://grafana.example.org")
    return found


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of `words`."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise InvalidInput(f"{text!r} is none of {', '.join(words)}")
        return word

    return parse


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
        value = whole_number_in(text)
        if value is None or not least <= value <= most:
            raise InvalidInput(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return parse


def number(*, most: float) -> Callable[[str], float]:
    """Return a parser of numbers above 0 and up to `most`."""

    def parse(text: str) -> float:
        value = number_in(text)
        if value is None or not 0 < value <= most:
            raise InvalidInput(f"{text!r} is not a number above 0 and up to {most:g}")
        return value

    return parse
