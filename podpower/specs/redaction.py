"""Credentials out of everything that is kept: arguments, environment, labels, annotations, images.

What remains of a text still tells what runs. Redacting twice changes nothing.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from podpower.specs.requests import Container, InferenceRequest

REDACTED = "<redacted>"

_SECRET_WORDS = (
    r"pass(?:wd|word|phrase|code)?|pwd|secrets?|tokens?|credentials?|creds?|auth|bearer|cookie|session|signature|salt"
    r"|api[-_.]?keys?|access[-_.]?keys?(?:[-_.]?id)?|private[-_.]?keys?|account[-_.]?keys?|encryption[-_.]?keys?"
    r"|client[-_.]?secret|connection[-_.]?string|conn[-_.]?str|dsn|webhook[-_.]?url"
    r"|license[-_.]?key|master[-_.]?key"
)
# A whole word of a name: DB_PASSWORD, apiKey, --token; not "author" or "passenger".
_SECRET_NAME = re.compile(rf"(?:^|[^a-z])(?:{_SECRET_WORDS}|key)(?:$|[^a-z])", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# What is told about a secret is none: --secret-name, TOKEN_TTL, PASSWORD_FILE.
_ABOUT = re.compile(
    r"(?:names?|namespaces?|selector|file|path|dir|type|ref|length|size|ttl|timeout|expiry|expiration|enabled?|required"
    r"|algorithm|policy|mode|provider|class|format|prefix|endpoint|issuer|method|audience|header)$",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(?P<name>[\w.-]+[\"']?)(?P<sign>\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)")
_URL_USER = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@]+@")
_IMAGE_USER = re.compile(r"^[^/@\s]+:[^/@\s]+@(?!sha256:)")
_KNOWN_FORMS = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)"  # PEM blocks
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # JSON web tokens
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key ids
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|hf_|npm_|AIza|ya29\.|dop_v1_|SG\.)[\w.-]{12,}"
    r"|(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{8,})",
    re.DOTALL,
)
_OPAQUE = re.compile(r"(?<![\w/.-])(?=[\w+/]*[A-Z])(?=[\w+/]*[a-z])(?=[\w+/]*\d)[\w+/]{32,}={0,2}(?![\w/.-])")
# Cheap test that most texts fail: only what may match one of the above is searched with them.
_SUSPECT = re.compile(
    rf"{_SECRET_WORDS}|key|@|-----begin|eyj|akia|asia|gh[pousr]_|github_pat|glpat|xox|sk-|hf_|npm_|aiza|ya29|dop_v1|sg\."
    r"|basic\s"
)
_OPAQUE_LENGTH = 32
# Annotations that hold a whole object or are nobody's business here.
_DROPPED_ANNOTATIONS = ("last-applied-configuration", "last-applied-config", "kapp.k14s.io/original")


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name is taken to be a credential.

    >>> [is_secret_name(n) for n in ("DB_PASSWORD", "apiKey", "AUTHOR", "KEYBOARD", "ttl")]
    [True, True, False, False, False]
    """
    plain = _CAMEL.sub("_", name.strip("-\"' "))
    return _SECRET_NAME.search(plain) is not None and _ABOUT.search(plain) is None


@lru_cache(maxsize=1 << 16)
def _is_suspect(text: str) -> bool:
    return len(text) >= _OPAQUE_LENGTH or _SUSPECT.search(text.lower()) is not None


@lru_cache(maxsize=1 << 14)
def redact_text(text: str) -> str:
    """The text with credentials replaced by REDACTED; a text without any comes back as it is."""
    if not _is_suspect(text):
        return text
    text = _URL_USER.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _KNOWN_FORMS.sub(REDACTED, text)
    text = _ASSIGNED.sub(_without_secret, text)
    return _OPAQUE.sub(REDACTED, text)


def redact_words(words: list[str] | None) -> list[str] | None:
    """A command line: as `redact_text`, and the word that follows a secret flag (`--token X`) goes too."""
    if words is None:
        return None
    kept: list[str] = []
    after_secret_flag = False
    for word in words:
        if after_secret_flag and not word.startswith("-") and not _is_reference(word):
            kept.append(REDACTED)
        else:
            kept.append(redact_text(word))
        after_secret_flag = word.startswith("-") and "=" not in word and is_secret_name(word)
    return kept


def redact_value(name: str, value: str) -> str:
    """The value of an environment variable, label or annotation of this name."""
    return REDACTED if value and is_secret_name(name) and not _is_reference(value) else redact_text(value)


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations; those that hold a whole object are left out."""
    return {
        name: redact_value(name, value) for name, value in values.items() if not name.endswith(_DROPPED_ANNOTATIONS)
    }


def redact_image(image: str | None) -> str | None:
    """An image reference without user and password."""
    return None if image is None else redact_text(_IMAGE_USER.sub("", image))


def redact_request(request: InferenceRequest) -> InferenceRequest:
    """The request without credentials; the same object when it holds none."""
    if not any(map(_is_suspect, _texts(request))) and not any(
        name.endswith(_DROPPED_ANNOTATIONS) for name in request.annotations
    ):
        return request
    return msgspec.structs.replace(
        request,
        labels=redact_mapping(request.labels),
        annotations=redact_mapping(request.annotations),
        containers=[_redact_container(container) for container in request.containers],
    )


def _redact_container(container: Container) -> Container:
    return msgspec.structs.replace(
        container,
        image=redact_image(container.image),
        command=redact_words(container.command),
        args=redact_words(container.args),
    )


def _texts(request: InferenceRequest) -> Iterable[str]:
    for mapping in (request.labels, request.annotations):
        yield from mapping
        yield from mapping.values()
    for container in request.containers:
        yield container.image or ""
        yield from container.command or ()
        yield from container.args or ()


def _without_secret(match: re.Match[str]) -> str:
    if not is_secret_name(match["name"]) or _is_reference(match["value"]):
        return match[0]
    return match["name"] + match["sign"] + REDACTED


def _is_reference(value: str) -> bool:
    """`$(VAR)`, `${VAR}` and paths name a secret without holding it; REDACTED holds none any more."""
    value = value.strip("\"'")
    return value.startswith(("$", "/", "./", REDACTED)) or value in {"", "true", "false"}
