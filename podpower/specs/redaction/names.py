"""Names of credentials (`DB_PASSWORD`, `--token`), and values that only refer to one (`$(TOKEN)`, a path)."""

import re
from functools import lru_cache
from typing import Final

REDACTED: Final = "<redacted>"
_CACHED_CHARS = 64

# A name is secret where one of its words ends in one of these: DBPASSWORD, apiKey, --token. The lookbehinds are English
# words that end alike: bypass, monkey, possession.
_SECRET = re.compile(
    r"(?:pass(?:wd|word|wort|phrase|code)s?|p[as]?swd?|pwd?|secrets?|tokens?|credentials?|auth|authorization|bearer"
    r"|cookies?|signature|dsn|[ht]?otp|psk|jwt|mnemonic|seed[-_.]?phrase|pin[-_.]?code|docker(?:config(?:json)?|cfg)"
    r"|kennwort|wachtwoord|contrase(?:n|ñ)a|senha|parola|mot[-_.]?de[-_.]?passe|snmp[-_.]?community"
    r"|(?<!com)(?<!by)(?<!sur)(?<!tres)(?<!over)(?<!under)(?<!high)(?<!low)(?<!band)pass"
    r"|(?<!sa)creds?|(?<!ba)salt|(?<!pos)(?<!ob)session"
    r"|(?<!mon)(?<!don)(?<!tur)(?<!whis)(?<!hoc)(?<!joc)(?<!mic)(?<!lac)(?<!hot)key"
    r"|(?:api|access|private|account|encryption)[-_.]?keys|access[-_.]?keys?[-_.]?id"
    r"|connection[-_.]?string|conn[-_.]?str|webhook[-_.]?url)(?![a-z])"
    r"|(?<![a-z])(?:pin|sas|(?<=[-_.])pat)(?:[-_.](?:url|value))?$",  # whole words: they end or begin too many others
    re.IGNORECASE,
)
# Texts of which one is in every secret name, in lower case: most texts have none and are not searched for names. A test
# fails where a name of _SECRET has no part here.
PREFILTER: Final = (
    "pass", "p[as]?sw", "psk", "pw", "secret", "token", "cred", "auth", "bearer", "cookie", "session", "signature",
    "salt", "key", "conn", "dsn", "webhook", "otp", "jwt", "mnemonic", "phrase", "pin[-_.]?code", "pin(?![a-z])",
    "pat(?![a-z])", "sas(?![a-z])", "dockerc", "kennwort", "wachtwoord", "contrase", "senha", "parola", "community",
)  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Properties of a secret are none: --secret-name, TOKEN_TTL, PASSWORD_FILE, and the tokens of a language model.
_ABOUT = re.compile(
    r"(?:names?|namespaces?|selector|file|path|dir|type|ref|length|size|ttl|timeout|expiry|expiration|enabled?|required"
    r"|algorithm|policy|mode|provider|class|format|prefix|endpoint|issuer|method|audience|header"
    r"|(?:max|num|new|batched|total|prefill|input|output|prompt|context)[-_.]?tokens)$"
    r"|^checksum/",  # annotations of Helm: a digest of the Secret
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"\$\(.*|\$\{\w+\}?|\$(?:[A-Z_][A-Z0-9_]*|\d)"  # a variable, or the output of a command
    r"|(?:~|\.{0,2})/[\w./@%:-]*"  # a path
    rf"|{REDACTED}|true|false|",
    re.DOTALL,
)


def is_secret_name(name: str) -> bool:
    """Return whether the value of this name counts as a credential.

    >>> [is_secret_name(n) for n in ("PGPASSWORD", "apiKey", "AUTHOR", "KEYBOARD", "TOKEN_TTL")]
    [True, True, False, False, False]
    """
    return _is_secret(name) if len(name) <= _CACHED_CHARS else _is_secret.__wrapped__(name)


@lru_cache(maxsize=1 << 12)
def _is_secret(name: str) -> bool:
    plain = _CAMEL.sub("_", name.strip("-\"' "))
    return _SECRET.search(plain) is not None and _ABOUT.search(plain) is None


def is_reference(value: str) -> bool:
    """Return whether a value only refers to a secret; REDACTED counts as a reference.

    >>> [is_reference(v) for v in ("$(TOKEN)", "/run/secrets/token", "<redacted>", "true", "hunter2")]
    [True, True, True, True, False]
    """
    return _REFERENCE.fullmatch(value.strip("\"'\\")) is not None
