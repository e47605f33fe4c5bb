"""Parse times: Unix seconds, RFC 3339, or relative to now."""

import re
from datetime import UTC, datetime

from podpower.cli.arguments import UsageError, seconds
from podpower.numbers import number_in

_RELATIVE = re.compile(r"(?:now)?(?P<sign>[+-])(?P<span>[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))")


def parse_hour(text: str, *, option: str) -> float:
    """Return the Unix seconds at which the UTC hour `text` (`2026-01-31T06`) begins; UsageError names `option`."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise UsageError(f"{option} {text!r} is not an hour: write it in UTC, such as 2026-01-31T06") from None


def parse_time(text: str, *, now_s: float, option: str) -> float:
    """Return the Unix seconds of `text`: `1761811743`, `2025-10-30T08:09:03Z`, `-6h`, `now-30m` or `now`.

    A time without a zone is refused rather than guessed: UsageError names `option`.
    """
    text = text.strip()
    if text == "now":
        return now_s
    if relative := _RELATIVE.fullmatch(text):
        span_s = seconds(relative["span"])
        return now_s + span_s if relative["sign"] == "+" else now_s - span_s
    if (unix_s := number_in(text)) is not None and unix_s >= 0:
        return unix_s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is not a time: write Unix seconds, RFC 3339 such as 2026-01-31T06:00:00Z, -6h or now"
        ) from None
    if moment.tzinfo is None:
        raise UsageError(f"{option} {text!r} has no time zone: append Z for UTC or an offset such as +01:00")
    return moment.astimezone(UTC).timestamp()
