"""Print tables on standard output, notes and progress on standard error."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 3  # blanks between columns
_STACKED_GAP = 2  # where the terminal is too narrow
_MOST_LAID_OUT = 1_000  # rows; rich takes a millisecond for each
_LINES = 1_000  # written at a time
_WIDE = 220  # columns where there is no terminal: nothing is cut in files and pipes


def note(message: str) -> None:
    """Print one line on standard error."""
    print(plain(message), file=sys.stderr)


def line(text: str) -> None:
    """Print one line on standard output."""
    print(plain(text))


def plain(text: str) -> str:
    """Return a text in one line without control characters, which a manifest can hold: a name forges no line, and is no
    command to the runner of a pipeline (`::error::` on GitHub, `##vso[...]` on Azure, `##teamcity[...]`).
    """
    if not text.isprintable():
        from podpower.specs.quoting import printable  # noqa: PLC0415  # rarely needed

        text = printable(text)
    if "##" in text or text.lstrip().startswith("::"):
        text = "# ".join(text.replace("::", ": :").split("#"))
    return text


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
    total: Sequence[str] | None = None,
    stream: IO[str] | None = None,
) -> None:
    """Print a table; columns named in `right` are aligned to the right, `total` is printed below a line.

    On a terminal that is too narrow, the first column of each row, a name, has a line of its own and is never broken.
    """
    stream = stream or sys.stdout
    terminal = stream.isatty()
    console = _console(file=stream, width=None if terminal else _WIDE, highlight=False, soft_wrap=not terminal)
    shown_rows = [[plain(cell) for cell in row] for row in rows]
    widths = _widths([columns, *shown_rows, *([total] if total else [])])
    needed = sum(widths) + _GAP * (len(widths) - 1)
    if terminal and needed > console.width and len(columns) > 1:
        _stacked(columns, shown_rows, widths, right=right, total=total, stream=stream)
        return
    if len(rows) > _MOST_LAID_OUT:
        _aligned(columns, shown_rows, widths, right=right, total=total, title=title, stream=stream)
        return
    from rich import box  # noqa: PLC0415  # tables only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console.width = max(console.width, needed)  # in a pipe or a file nothing is cut
    shown = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_footer=total is not None,
    )
    for index, column in enumerate(columns):
        footer = total[index] if total else ""
        justify = "right" if column in right else "left"
        shown.add_column(column, footer=Text(footer), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in shown_rows:
        shown.add_row(*(Text(cell) for cell in row))  # Text: a name such as "[red]" is a name
    console.print(shown)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_width, column)) for column in zip(*rows, strict=True)]


def _width(cell: str) -> int:
    """Return the columns that a cell takes on a terminal."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len  # noqa: PLC0415  # tables only

    return cell_len(cell)


def _padded(cells: Sequence[str], widths: Sequence[int], rights: Sequence[bool], *, gap: int = _GAP) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, rights, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if right else cell + space)
    return (" " * gap).join(padded)


def _aligned(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    right: Sequence[str],
    total: Sequence[str] | None,
    title: str | None,
    stream: IO[str],
) -> None:
    """Print a long table as rich prints a short one, a thousand lines at a time."""
    rights = [column in right for column in columns]
    ruler = "─" * (sum(widths) + _GAP * (len(widths) - 1))
    head = [title] if title else []
    stream.write("\n".join([*head, _padded(columns, widths, rights), ruler, ""]))
    for first in range(0, len(rows), _LINES):
        stream.write("".join(_padded(row, widths, rights) + "\n" for row in rows[first : first + _LINES]))
    if total:
        stream.write("\n".join(["", _padded(total, widths, rights), ""]))


def _stacked(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    right: Sequence[str],
    total: Sequence[str] | None,
    stream: IO[str],
) -> None:
    """Print each row as a line with its name and an indented line with the other cells."""
    rights = [column in right for column in columns[1:]]

    def padded_line(cells: Sequence[str]) -> str:
        return "  " + _padded(cells[1:], widths[1:], rights, gap=_STACKED_GAP).rstrip()

    head = padded_line(columns)
    ruler = "─" * max(len(columns[0]), len(head))
    lines = [columns[0], head, ruler]
    for row in rows:
        lines += [row[0], padded_line(row)]
    if total:
        lines += [ruler, total[0], padded_line(total)]
    print("\n".join(lines), file=stream)


def _console(**options: Any) -> "Console":
    """Return a console that raises BrokenPipeError on a closed pipe, where rich would exit with 1."""
    from rich.console import Console  # noqa: PLC0415  # tables only

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PipedConsole(**options)


@contextmanager
def progress(description: str) -> Iterator[Any]:
    """Show a bar on standard error while the block runs, on a terminal only; yield `advance(done, total, text)`."""
    if not sys.stderr.isatty():
        yield lambda _done, _total=None, _what=None: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total=None, what=None: bars.update(
            task, completed=done, total=total, description=what or description
        )


def number(value: Any, digits: int = 3) -> str:
    """Format a number for a table cell; "-" when unknown."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  # NaN
    return str(value)
