"""Print tables on standard output, notes and progress on standard error."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 220  # columns where there is no terminal: nothing is cut in files and pipes


def note(message: str) -> None:
    """Print one line on standard error."""
    print(_plain(message), file=sys.stderr)


def _plain(text: str) -> str:
    """Return a text without control characters, which a manifest can hold."""
    if text.isprintable():
        return text
    from podpower.specs.quoting import printable  # noqa: PLC0415  # rarely needed

    return "\n".join(map(printable, text.split("\n")))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
    total: Sequence[str] | None = None,
    stream: IO[str] | None = None,
) -> None:
    """Print a table; columns named in `right` are aligned to the right, `total` is printed below a line."""
    from rich import box  # noqa: PLC0415  # tables only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stream = stream or sys.stdout
    terminal = stream.isatty()
    console = _console(file=stream, width=None if terminal else _WIDE, highlight=False, soft_wrap=not terminal)
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
    for row in rows:
        shown.add_row(*(Text(_plain(cell)) for cell in row))  # Text: a name such as "[red]" is a name
    console.print(shown)


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


def quantity(value: float | None, unit: str) -> str:
    """Format three digits and a unit with prefix: 0.00123 W is "1.23 mW", 4500 J is "4.50 kJ"; "-" when unknown."""
    if value is None or value != value:  # noqa: PLR0124  # NaN
        return "-"
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"0 {unit}"


def quantity_of_kwh(value: float | None) -> str:
    """Format three digits of kilowatt-hours, small ones as watt-hours: 0.0031 kWh is "3.10 Wh"; "-" when unknown."""
    return quantity(None if value is None else value * 1000.0, "Wh")


def count(number: int, noun: str) -> str:
    """Format a number with its noun: `1 object`, `4 objects`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def number(value: Any, digits: int = 3) -> str:
    """Format a number for a table cell; "-" when unknown."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  # NaN
    return str(value)
