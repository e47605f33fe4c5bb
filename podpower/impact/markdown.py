"""Tables as GitHub and GitLab render them. Texts from manifests cannot break out of their cell."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podpower.impact import tables
from podpower.specs.quoting import printable


def predictions(answer: Mapping[str, Any], *, inputs: Sequence[str], notes: Sequence[str] = ()) -> str:
    """Return predictions as a table, and what they rest on."""
    found = tables.prediction_table(answer)
    rows = [[code(row[0]), *map(plain, row[1:])] for row in found.rows]
    last = [f"**{cell}**" if cell else "" for cell in map(plain, found.total)]
    below = [
        *tables.total_lines(answer["total"]),
        *tables.basis_lines(answer["predictions"]),
        *tables.notes_of(answer["predictions"]),
        *notes,
        *inputs,
    ]
    return "\n".join([*table(found.columns, [*rows, last], right=found.right), "", *bullets(below)])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table; cells are Markdown already."""
    ruler = ["---:" if column in right else "---" for column in columns]
    return [_row(columns), _row(ruler), *map(_row, rows)]


def bullets(lines: Iterable[str]) -> list[str]:
    """Return a list of plain texts."""
    return [f"- {plain(line)}" for line in lines]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|#~@!$&"})


def plain(text: str) -> str:
    r"""Return a text whose characters mean nothing in Markdown or HTML, and mention nobody.

    >>> plain("<b>|@all"), plain("3.5 W")
    ('\\<b\\>\\|\\@\u200ball', '3.5 W')
    """
    return printable(text).translate(_ESCAPED).replace("\\@", "\\@\u200b")


def code(text: str) -> str:
    r"""Return a text in a code span.

    >>> code("shop/`web`|x")
    "`shop/'web'\\|x`"
    """
    shown = printable(text).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"
