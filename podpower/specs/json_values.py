"""JSON documents, one after another, into plain values."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.specs.yaml_values import is_separated

# A broken document is scanned up to its error, and reading continues at a line of it, until so many times the length of
# the text was scanned in vain.
_MAX_WASTE: Final = 1

_LARGE: Final = 1 << 16
# What 8 MiB of objects from an API server stay below. A single object of as many fields takes longer to decode than
# others should wait; lists are decoded item by item.
_MOST_COMMAS: Final = 900_000
_MOST_BRACKETS: Final = 400_000
_MOST_FIELDS: Final = 400_000
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SCANNER = json.JSONDecoder()  # finds the end of a document; msgspec makes its value
_SPACE = re.compile(r"\s*")
_DOCUMENT_LINE = re.compile(r"^[{\[]", re.MULTILINE)


class TooDeep(InvalidInput):
    """A document is nested deeper than any manifest."""

    def __init__(self, skipped: str = "") -> None:
        super().__init__(f"nested deeper than any manifest, by hundreds of levels{skipped}")


class Unread:
    """Mark in place of a value: reading stops here."""


def check_density(document: bytes) -> None:
    """Raise InvalidInput for a large document of so many values that it would take long to decode. Commas, brackets and
    fields in its texts count, too: a table or a document in a ConfigMap has few of them beside the bounds.
    """
    if len(document) <= _LARGE:
        return
    if (
        document.count(b",") > _MOST_COMMAS
        or document.count(b"[") + document.count(b"{") > _MOST_BRACKETS
        or document.count(b'":') > _MOST_FIELDS
    ):
        raise InvalidInput("too many values: hundreds of thousands of lists, objects and fields, as no manifests have")


def value_of(document: str | bytes) -> Any:
    """Return the value of one JSON document. InvalidInput if it is not valid, TooDeep if it is nested too deeply."""
    try:
        return msgspec.json.decode(document) if len(document) <= _LARGE else _in_parts(document)
    except RecursionError:
        raise TooDeep from None
    except ValueError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None


def _in_parts(document: str | bytes) -> Any:
    """Return the value of a large document, whose parts are decoded one by one: other threads have their turn between
    them.
    """
    try:
        parts = _FIELDS.decode(document)
        fields = {name: _items(part) for name, part in parts.items()}
    except (ValueError, RecursionError):
        return msgspec.json.decode(document)  # another value, or the error of the whole
    return fields


def _items(part: msgspec.Raw) -> Any:
    if len(memoryview(part)) <= _LARGE or not _is_list(part):
        return msgspec.json.decode(part)
    return [msgspec.json.decode(item) for item in _ITEMS.decode(part)]


def _is_list(part: msgspec.Raw) -> bool:
    return bytes(memoryview(part)[:1]) == b"["


def fields_of(document: bytes) -> dict[str, msgspec.Raw] | None:
    """Return the fields of a JSON object, each as it is written; None for another value. Raises as `value_of`: all
    values are checked one by one, and none is kept.
    """
    try:
        fields = _FIELDS.decode(document)
        for part in fields.values():
            for item in _ITEMS.decode(part) if _is_list(part) else (part,):
                msgspec.json.decode(item)
    except (ValueError, RecursionError):
        value_of(document)  # has the error of the whole
        return None
    return fields


def values_of(text: str) -> Iterator[tuple[int, Any]] | None:
    """Return the offset and value of each document, InvalidInput in place of the value of a broken one.

    None when the text has YAML's separators, or the first document is not JSON: YAML's flow style begins alike.
    """
    try:
        return iter([(0, value_of(text))])
    except InvalidInput:
        if is_separated(text):
            return None
        documents = _one_after_another(text)
        first = next(documents, (0, None))
        is_json = not isinstance(first[1], InvalidInput) or isinstance(first[1], TooDeep)
        return itertools.chain([first], documents) if is_json else None


def _one_after_another(text: str) -> Iterator[tuple[int, Any]]:
    position, wasted = _after_space(text, 0), 0
    while position < len(text):
        if wasted > _MAX_WASTE * len(text):
            yield position, Unread()
            return
        value, end = _whole_line(text, position)
        if end is None:
            try:
                end = _SCANNER.raw_decode(text, position)[1]
                value = _value_or_error(text[position:end])
            except (ValueError, RecursionError) as error:
                end = _next_line(text, position)
                value = _broken(error, text[position:end])
                # Others give no place: nesting, and an integer of more digits than Python reads.
                wasted += (error.pos if isinstance(error, json.JSONDecodeError) else len(text)) - position
        yield position, value
        position = _after_space(text, end)


def _whole_line(text: str, position: int) -> tuple[Any, int | None]:
    """Return the value and end of a document that is one line, as in NDJSON; no end for others."""
    if position and text[position - 1] != "\n":
        return None, None  # a line of many documents is searched for its end once, not once a document
    end = text.find("\n", position)
    if end < 0:
        end = len(text)
    try:
        return msgspec.json.decode(text[position:end]), end
    except (ValueError, RecursionError):
        return None, None


def _value_or_error(document: str) -> Any:
    try:
        return value_of(document)
    except InvalidInput as error:
        return error


def _broken(error: Exception, passed: str) -> InvalidInput:
    lines = len(passed.rstrip().splitlines()) - 1
    skipped = f"; {lines} more lines, up to the next that begins with {{ or [, are not read" if lines else ""
    if isinstance(error, RecursionError):
        return TooDeep(skipped)
    return InvalidInput(f"not valid JSON: {error}{skipped}")


def _next_line(text: str, position: int) -> int:
    """Return the start of the next line that begins a document."""
    line = text.find("\n", position) + 1
    match = _DOCUMENT_LINE.search(text, line) if line else None
    return match.start() if match else len(text)


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position
