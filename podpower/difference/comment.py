"""A difference as the comment on a pull request: a sentence, a table, and the rest folded.

GitHub refuses comments of more than 65,536 characters, so rows are left out, the smallest first, and counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from podpower.difference import tables
from podpower.impact import markdown

MOST_CHARACTERS: Final = 65_000  # below GitHub's 65,536, with room for the mark of the comment
_SHOWN: Final = 20
_MOST_LINES: Final = 50


def render(answer: Mapping[str, Any], *, inputs: Sequence[str] = (), most: int = MOST_CHARACTERS) -> str:
    """Return Markdown of at most `most` characters; "" where nothing changed and everything could be read."""
    rows = [_cells(row) for row in tables.rows_of(answer)]
    lines = [*(tables.basis_lines(answer) if tables.untrained(answer) else []), *tables.why_unknown(answer)]
    if not rows and not answer["errors"]:
        return ""
    sentence = f"**{markdown.plain(tables.sentence(answer))}**"
    for count in _fewer(len(rows)):
        text = _text(sentence, rows, count, answer=answer, lines=lines, inputs=inputs)
        if len(text) <= most:
            return text
    return sentence[:most]


def _fewer(count: int) -> list[int]:
    """Return how many rows to try: all, then ever fewer."""
    tried = [count]
    while tried[-1] > 0:
        tried.append(tried[-1] * 3 // 4)
    return tried


def _text(
    sentence: str,
    rows: Sequence[Sequence[str]],
    count: int,
    *,
    answer: Mapping[str, Any],
    lines: Sequence[str],
    inputs: Sequence[str],
) -> str:
    columns = tables.columns_of(answer)
    right = columns[2:-2]
    parts = ["### What this change draws", "", sentence, ""]
    total = [f"**{cell}**" if cell else "" for cell in map(markdown.plain, tables.total_row(answer))]
    if rows:
        parts += markdown.table(columns, [*rows[: min(_SHOWN, count)], total], right=right)
    if count > _SHOWN:
        title = f"{count - _SHOWN} more changed workloads"
        parts += _folded(title, markdown.table(columns, rows[_SHOWN:count], right=right))
    if count < len(rows):
        parts += ["", f"{len(rows) - count} smaller changes are not shown, and are in the total."]
    if lines:
        more = [f"{len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        parts += ["", *markdown.bullets([*lines[:_MOST_LINES], *more])]
    unchanged = f"{answer['unchanged']} workloads are unchanged"
    basis = [] if tables.untrained(answer) else tables.basis_lines(answer)
    parts += _folded("How to read this", markdown.bullets([*basis, unchanged, *inputs]))
    return "\n".join(parts) + "\n"


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _cells(row: Sequence[str]) -> list[str]:
    return [markdown.code(row[0]), *map(markdown.plain, row[1:])]
