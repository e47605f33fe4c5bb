"""Alternatives of a pattern, grouped by their first letter: `re` tries each alternative at each place of a text."""

from collections.abc import Iterable


def either(alternatives: Iterable[str]) -> str:
    """Return a pattern that matches where one of the alternatives does. A first letter that several
    share is written once.

    >>> either(["salt", "secret", "key", "[ab]c"])
    's(?:alt|ecret)|key|[ab]c'
    """
    groups: dict[str, list[str]] = {}
    for alternative in dict.fromkeys(alternatives):
        first = alternative[0] if alternative[0].isalpha() else ""
        groups.setdefault(first or alternative, []).append(alternative[len(first) :])
    return "|".join(
        f"{first}(?:{'|'.join(rests)})" if len(rests) > 1 else (first + rests[0] if first.isalpha() else first)
        for first, rests in groups.items()
    )
