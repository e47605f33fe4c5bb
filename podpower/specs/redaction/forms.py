"""Credentials that are known by their form, wherever they are: keys of clouds and forges, tokens, headers, SQL, URLs.

A new form is a line in a table here. Every pattern is linear: its runs are possessive (`++`) and start only where a
lookbehind finds no earlier character of theirs.
"""

import re
from typing import Final

from podpower.specs.redaction.names import REDACTED, is_reference

QUOTED: Final = r"\\*+(?:\"[^\"]*+\"?+|'[^']*+'?+)"
OPAQUE_LENGTH: Final = 32  # characters of letters and digits that are a key
LEAST_LENGTH: Final = 16  # of a token
# Beginnings of tokens, by the least number of characters after them.
_PREFIXES: Final = {
    12: r"gh[pousr]_|github_pat_|gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-|xox[a-z]-|xapp-|sk-|[sr]k_(?:live|test)_|whsec_"
    r"|npm_|ya29\.|do[por]_v1_|SG\.|pypi-|rubygems_|dckr_[op]at_|hv[sbr]\.|GOCSPX-|NRAK-|sntry[su]_|lin_api_|fm2_"
    r"|shp(?:at|ca|pa|ss)_|tskey-|PMAK-|figd_|ATATT3|ATBB|HRKU-|pscale_(?:tkn|pw|oauth)_|sbp_|nfp_|CCIPAT_|glsa_|glc_"
    r"|ops_eyJ|AGE-SECRET-KEY-1|dp\.(?:pt|st|ct|sa)\.|sq0(?:atp|csp)-|hf_|AIza",
    20: r"ntn_|GOOG1|key-[0-9a-f]{12}|dapi[0-9a-f]{12}|LTAI",
}
_TOKENS = re.compile(
    "(?<![A-Za-z0-9])(?:"
    + "|".join(rf"(?:{prefixes})[\w.-]{{{least},}}+" for least, prefixes in _PREFIXES.items())
    + ")"
)
# The same of a text whose digits are all 0, which a count in braces is not part of.
_FOLDED_TOKENS = re.compile(re.sub(r"\d(?![\d,]*\})", "0", _TOKENS.pattern))
# Other forms, each with a text that is in everything of that form.
_FORMS: Final = tuple(
    (text, re.compile(pattern, re.DOTALL))
    for text, pattern in (
        ("-----BEGIN", r"-----BEGIN [A-Z ]++-----.*?(?:-----END [A-Z ]++-----|\Z)"),  # PEM blocks
        ("eyJ", r"\beyJ[\w-]{8,}+(?:\.[\w-]++)*+"),  # JSON web tokens
        ("IA", r"\bA(?:KI|SI|BI)A[A-Z0-9]{16}\b"),  # AWS access key ids
        ("Q~", r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,}+"),  # Azure client secrets
        (":AA", r"\b\d{8,10}:AA[\w-]{33}"),  # Telegram bots
        ("$", r"\$(?:2[aby]|apr1|[156y]|argon2\w{1,2})\$[\w./$=,+]{12,}+"),  # hashes of passwords
        (" ", r"(?i:\b(?:bearer|basic)\s++[\w.~+/=-]{8,}+)"),
    )
)
_FORM_PART = re.compile(r"-----BEGIN|eyJ|[KSB]IA|Q~|:AA|\$\w{1,8}\$|(?:earer|EARER|asic|ASIC)\s")
_URL_USER = re.compile(r"(?<=://)[^/\s@]++@")
_HOST_USER = re.compile(  # user:secret@tcp(db:3306)
    r"(?<![\w.%+-])[\w.%+-]++:[^\s@/:\"'<]++@(?!sha\d)(?=[\w.-]{0,255}(?:\(|:\d))"
)
_ORACLE = re.compile(r"(jdbc:oracle:\w{1,10}+:[^\s/@\"']*+/)[^\s@\"']++(?=@)", re.IGNORECASE)
_HEADER = re.compile(
    r"(?<![\w-])((?:proxy-)?authorization|(?:set-)?cookie)(\\*+[\"']?+\s*+:\s*+[\"']?+)[^\"'\r\n<][^\"'\r\n]*+",
    re.IGNORECASE,
)
# Parameters of a URL that are credentials there and common words elsewhere; `names` has all others.
_PARAMETER = re.compile(
    r"(?<=[?&])((?:sig|code|hmac|sid|ticket|upass|assertion|samlresponse)=)([^&\s\"'#]++)", re.IGNORECASE
)
_WEBHOOK = re.compile(
    r"\b((?:hooks\.slack\.com/\w{1,20}|discord(?:app)?\.com/api/webhooks|webhook\.office\.com|api\.telegram\.org"
    r"|chat\.googleapis\.com/v1/spaces)/)([^\s\"']++)",
    re.IGNORECASE,
)
_SQL = re.compile(
    rf"\b((?:identified\s++(?:with\s++\w++\s++)?(?:by|as)|password)(?:\s++|\s*+\(\s*+))({QUOTED})", re.IGNORECASE
)
_PIPED = re.compile(  # echo SECRET | docker login --password-stdin
    rf"\b((?:echo|printf)\s++(?:-\w++\s++)*+)({QUOTED}|[^\s\"'|;&<>]++)"
    r"(?=\s*+\|[^|;\n]{0,200}(?:stdin|chpasswd|sudo -S|--with-token))"
)
_OPAQUE = re.compile(r"(?<![\w+/.-])[\w+/]{32,}+={0,2}+(?![\w/.-])")
_OPAQUE_HAS = tuple(map(re.compile, ("[A-Z]", "[a-z]", "[0-9]")))


# Patterns of which every text has one in which one of the patterns above may find something, in lower case, beside
# tokens.
PREFILTER: Final = (
    "@", "authorization", "cookie", "[?&](?:sig|code|hmac|sid|ticket|upass|assertion|samlresponse)=", r"hooks\.slack",
    "webhook", r"api\.telegram", r"chat\.google", "identified", "stdin", "chpasswd", "sudo -s", "with-token",
)  # fmt: skip


def has_token(text: str, lower: str) -> bool:
    """Return True for a text that may hold a token or a key. `lower` is it in lower case."""
    if len(text) < LEAST_LENGTH:
        return False
    if len(text) >= OPAQUE_LENGTH and text != lower:
        return True
    return _TOKENS.search(text) is not None or _FORM_PART.search(text) is not None


def may_hold_token(line: str, lower: str) -> bool:
    """Return True for words, joined by spaces, of which one may hold a token or a key. Every digit of `line` is 0;
    `lower` is it in lower case.
    """
    if _FOLDED_TOKENS.search(line) is not None:
        return True
    if line == lower:  # forms in lower case: hashes of passwords, "basic" and "bearer"
        return ("$" in line or "asic" in line or "earer" in line) and _FORM_PART.search(line) is not None
    if _FORM_PART.search(line) is not None:
        return True
    return any(len(word) >= OPAQUE_LENGTH and word != word.lower() for word in line.split(" "))


def without_known_forms(text: str) -> str:
    """Return a text without credentials that are known by their form or their place in a URL, a header or SQL."""
    lower = text.lower()
    if "@" in text:
        text = _URL_USER.sub(f"{REDACTED}@", text)
        text = _HOST_USER.sub(f"{REDACTED}@", text)
        if "oracle:" in lower:
            text = _ORACLE.sub(rf"\1{REDACTED}", text)
    if len(text) >= LEAST_LENGTH:
        text = _TOKENS.sub(REDACTED, text)
        if _FORM_PART.search(text):
            for part, form in _FORMS:
                if part in text or part == " ":
                    text = form.sub(REDACTED, text)
    if "authorization" in lower or "cookie" in lower:
        text = _HEADER.sub(rf"\1\2{REDACTED}", text)
    if "=" in text and ("?" in text or "&" in text):
        text = _PARAMETER.sub(_without_second, text)
    if ".com/" in lower or ".org/" in lower:
        text = _WEBHOOK.sub(_without_second, text)
    if "identified" in lower or "password" in lower:
        text = _SQL.sub(_without_second, text)
    if "|" in text:
        text = _PIPED.sub(_without_second, text)
    return text


def without_opaque(text: str) -> str:
    """Return a text without random letters and digits of both cases, which are keys; words and hexadecimal digests
    stay.
    """
    if len(text) < OPAQUE_LENGTH or not all(has.search(text) for has in _OPAQUE_HAS):
        return text
    return _OPAQUE.sub(_without_key, text)


def _without_second(match: re.Match[str]) -> str:
    return match[0] if is_reference(match[2]) else f"{match[1]}{REDACTED}"


def _without_key(match: re.Match[str]) -> str:
    return REDACTED if all(has.search(match[0]) for has in _OPAQUE_HAS) else match[0]
