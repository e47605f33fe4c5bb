"""Credentials in texts by their form, and the functions that redact commands, mappings, images and whole requests.

What remains of a text still shows what runs. Redacting twice changes nothing. The time that a text takes grows with its
length and ends at MAX_CHARS: every pattern is linear, because its runs are possessive (`++`) and start only where a
lookbehind finds no earlier character of theirs.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, Final

import msgspec

from podpower.specs.redaction import forms, names, program_arguments
from podpower.specs.redaction.alternatives import either
from podpower.specs.redaction.forms import QUOTED
from podpower.specs.redaction.names import REDACTED, is_reference, is_secret_name
from podpower.specs.redaction.program_arguments import CommandReader
from podpower.specs.requests import Container, InferenceRequest

MAX_CHARS: Final = 1 << 16  # of a text are searched; Linux runs no program with an argument of twice that
KEPT_CHARS: Final = 256  # of a longer text
_CACHED_CHARS = 256
_MAX_PASSES = 4

_IMAGE_USER = re.compile(r"[^/@\s:]++:[^/@\s]++@(?!sha256:)")
_ASSIGNED = re.compile(r"(?<![\w.-])(?P<name>[\w.-]++)\\*+[\"']?+\]?+\s*+[=:]{1,2}+>?+\s*+")
_VALUE = re.compile(rf"{QUOTED}|[^\s\"']++")
_VALUE_IN_LIST = re.compile(rf"{QUOTED}|[\[{{][^\]}}]*+[\]}}]?+|[^\s,;&\"']++")
_DONE = re.compile(rf"(?:(?:--)?[A-Za-z_][\w.-]*+[=:])?{REDACTED}")  # nothing is left to find
# A command in a text: where it begins, its options, and the word before which a value of theirs stands.
_COMMAND = re.compile(r"[;|&\n`(){}]++|(?<![^\s\"'(=`{;|&])-{1,2}[A-Za-z][^\s\"'`;|&()]*+")
_WORDS = re.compile(r"[^\s\"'`;|&()-][^\s\"'`;|&()]*+")
_GAP = re.compile(r"\s++")
_QUOTES = frozenset("'\"")
# Quick test that most texts fail: only what may match is searched with the patterns.
_SUSPECT = re.compile(either((*names.PREFILTER, *forms.PREFILTER, *program_arguments.PREFILTER)))
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
# Annotations that hold a whole object or are nobody's business here.
_DROPPED_ANNOTATIONS = ("last-applied-configuration", "last-applied-config", "kapp.k14s.io/original")


def redact_text(text: str) -> str:
    """Return the text with credentials replaced by REDACTED; a text without any is returned as it is.

    Of a text of more than MAX_CHARS its beginning and a digest are kept.
    """
    return _redacted(text, commands=True)


def redact_words(words: Sequence[str] | None) -> list[str] | None:
    """Return a command line without credentials: words as `redact_text`, and values of options that take a credential
    (`--token X`, `-p X`).
    """
    if words is None:
        return None
    if not _may_hold_credential(" ".join(words)):
        return list(words)
    kept = [(word, False) for word in words]
    stable: Set[tuple[str, bool]] = frozenset()
    for _ in range(_MAX_PASSES):
        before, kept = kept, _words_pass([word for word, _ in kept], stable)
        if all(word == earlier for (word, _), (earlier, _) in zip(kept, before, strict=True)):
            return [word for word, _ in kept]
        stable = set(kept)
    return [REDACTED] * len(kept)


def _words_pass(words: Sequence[str], stable: Set[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Return the words without credentials, each with `commands` as for `_redacted`; those in `stable` come from it."""
    kept: list[tuple[str, bool]] = []
    command, kind = CommandReader(), ""

    def keep(word: str, *, commands: bool) -> None:
        kept.append((word if (word, commands) in stable else _redacted(word, commands=commands), commands))

    for word in words:
        if word.startswith("-") and len(word) > 1:
            whole = _GAP.search(word) is not None  # "--token X" in one word: its value is not the next word
            kind = command.kind_of_next(word) if "=" not in word and not whole else ""
            keep(command.read_option(word), commands=whole)
            continue
        if kind:
            word = command.read_value(kind, word)  # noqa: PLW2901
        elif not _GAP.search(word):
            word = command.read_word(word)  # noqa: PLW2901
        keep(word, commands=not kind)
        kind = ""
    return kept


def redact_command(
    command: Sequence[str] | None, args: Sequence[str] | None
) -> tuple[list[str] | None, list[str] | None]:
    """Return `command` and `args` of a container, which are one command line, without credentials."""
    words = redact_words([*(command or ()), *(args or ())]) or []
    cut = len(command or ())
    return None if command is None else words[:cut], None if args is None else words[cut:]


def redact_value(name: str, value: str) -> str:
    """Return the value of an environment variable, label or annotation of this name, without credentials."""
    return REDACTED if value and is_secret_name(name) and not is_reference(value) else redact_text(value)


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Return labels or annotations without credentials, and without those that hold a whole object."""
    return {
        name: redact_value(name, value) for name, value in values.items() if not name.endswith(_DROPPED_ANNOTATIONS)
    }


def redact_image(image: str | None) -> str | None:
    """Return an image reference without user and password."""
    if image is None:
        return None
    for _ in range(_MAX_PASSES):
        before = image
        user = _IMAGE_USER.match(image, 0, MAX_CHARS)
        image = redact_text(image[user.end() :] if user else image)
        if image == before:
            return image
    return REDACTED


def redact_request(request: InferenceRequest, *, metadata: bool = True) -> InferenceRequest:
    """Return the request without credentials; the same object when it holds none.

    `metadata=False` leaves labels and annotations as they are, for a request that is only predicted.
    """
    if not metadata and not _may_hold_credential(" ".join(_texts_of(request.containers))):
        return request
    changes: dict[str, Any] = {}
    if metadata:
        mappings = {"labels": request.labels, "annotations": request.annotations}
        changes = {name: kept for name, values in mappings.items() if (kept := redact_mapping(values)) != values}
    containers = [_redact_container(container) for container in request.containers]
    if any(kept is not container for kept, container in zip(containers, request.containers, strict=True)):
        changes["containers"] = containers
    return msgspec.structs.replace(request, **changes) if changes else request


def _redact_container(container: Container) -> Container:
    """Return the container without credentials; the same object when it holds none."""
    image = redact_image(container.image)
    command, args = container.command, container.args
    if command or args:
        command, args = redact_command(command, args)
    if image == container.image and command == container.command and args == container.args:
        return container
    return msgspec.structs.replace(container, image=image, command=command, args=args)


def _texts_of(containers: Sequence[Container]) -> list[str]:
    texts: list[str] = []
    for container in containers:
        if container.image:
            texts.append(container.image)
        texts += container.command or ()
        texts += container.args or ()
    return texts


def _redacted(text: str, *, commands: bool) -> str:
    if len(text) <= _CACHED_CHARS:
        return _cached(text, commands)
    return _stable(text, commands) if len(text) <= MAX_CHARS else _cut(text, commands)


@lru_cache(maxsize=1 << 14)
def _cached(text: str, commands: bool) -> str:
    return _stable(text, commands) if _is_suspect(text) else text


def _is_suspect(text: str) -> bool:
    lower = text.lower()
    return _SUSPECT.search(lower) is not None or forms.has_token(text, lower)


def _may_hold_credential(line: str) -> bool:
    """Return False for words, joined by spaces, that no pass changes: by one search over all of them."""
    if len(line) > MAX_CHARS:
        return True
    # Versions and numbers differ where nothing else does.
    folded = line.encode("utf-8", "surrogatepass").translate(_DIGITS_AS_ZERO)
    return _is_suspect_line(folded) if len(folded) <= _CACHED_CHARS else _is_suspect_line.__wrapped__(folded)


@lru_cache(maxsize=1 << 14)
def _is_suspect_line(folded: bytes) -> bool:
    line = folded.decode("utf-8", "surrogatepass")
    lower = line.lower()
    return _SUSPECT.search(lower) is not None or forms.may_hold_token(line, lower)


def _cut(text: str, commands: bool) -> str:
    """Return the redacted beginning of a text, and a digest of the redacted part that is searched."""
    searched = _pass(text[:MAX_CHARS], commands)
    digest = hashlib.sha256(searched.encode("utf-8", "surrogatepass")).hexdigest()
    # A comma ends every value, so that the digest never becomes part of one.
    mark = f",...<{len(text)} characters, sha256 {digest}>"
    whole = _stable(searched[:KEPT_CHARS], commands) + mark
    return whole if _stable(whole, commands) == whole else REDACTED + mark


def _stable(text: str, commands: bool) -> str:
    """Return the text that no further pass changes, or REDACTED when passes keep changing it."""
    for _ in range(_MAX_PASSES):
        before, text = text, _pass(text, commands)
        if text == before or _DONE.fullmatch(text):
            return text
    return REDACTED


def _pass(text: str, commands: bool) -> str:
    text = forms.without_known_forms(text)
    if "=" in text or ":" in text:
        text = _without_assigned(text)
    if commands and ("-" in text or _GAP.search(text)):
        text = _without_options(text)
    return forms.without_opaque(text)


def _without_assigned(text: str) -> str:
    """Return a text without the values of secret names: PASSWORD=x, "token": "x"."""
    kept, done = [], 0
    words = _GAP.search(text) is not None
    for match in _ASSIGNED.finditer(text):
        if match.start() < done or not is_secret_name(match["name"]):
            continue
        begins = match.start() == 0 or text[match.start() - 1].isspace()
        if match.start() == 0 and not words:
            value, end = text[match.end() :], len(text)  # an argument of its own: whatever it holds
        elif found := (_VALUE if begins else _VALUE_IN_LIST).match(text, match.end()):
            value, end = found[0], found.end()
        else:
            continue
        if value and not is_reference(value):
            kept += [text[done : match.end()], REDACTED]
            done = end
    return "".join([*kept, text[done:]])


def _without_options(text: str) -> str:
    """Return a text without the secret values of options of the commands in it: sh -c "mysql -pSECRET db"."""
    kept: list[str] = []
    done = 0
    command, seen = CommandReader(), 0

    def see_words(end: int) -> None:
        nonlocal done
        for word in _WORDS.finditer(text, seen, end):
            if word.start() < done or (left := command.read_word(word[0])) == word[0]:
                continue
            quoted = _VALUE.match(text, word.start() - 1) if text[word.start() - 1 : word.start()] in _QUOTES else None
            kept.extend((text[done : quoted.start() if quoted else word.start()], left))
            done = quoted.end() if quoted else word.end()

    for match in _COMMAND.finditer(text):
        if match.start() < done:
            continue
        see_words(match.start())
        if match.start() < done:
            continue
        seen = match.end()
        flag = match[0]
        if not flag.startswith("-"):
            command = CommandReader()
            continue
        attached = _VALUE.match(text, match.end()) if len(flag) == len("-p") else None
        if attached:  # -p"two words"
            flag += attached[0]
        kept += [text[done : match.start()], command.read_option(flag)]
        done = seen = match.start() + len(flag)
        kind = command.kind_of_next(flag) if "=" not in flag else ""
        gap = _GAP.match(text, done)
        value = _VALUE.match(text, gap.end()) if kind and gap else None
        if gap and value and not value[0].startswith("-"):
            kept += [gap[0], command.read_value(kind, value[0])]
            done = seen = value.end()
    see_words(len(text))
    return "".join([*kept, text[done:]])
