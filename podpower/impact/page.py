"""Report of predictions: one HTML file without links and scripts, for a browser or a mail."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from podpower.impact import tables, units
from podpower.specs.quoting import printable

_BAR_PX: Final = 220
_MOST_BARS: Final = 20
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d8dee6; --bar: #3572b0; --bg: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --dim: #9aa6b5; --line: #39424e; --bar: #7fb2e5; --bg: #14181d; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg); max-width: 72rem;
  margin: 2rem auto; padding: 0 1.5rem; }
h1 { margin-bottom: .2rem; font-size: 1.6rem; } h2 { margin-top: 2rem; font-size: 1.15rem; }
.answer { font-size: 1.25rem; } .sub { color: var(--dim); } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--dim); } .n { text-align: right; } tfoot td { font-weight: 600; }
svg { display: block; } svg rect { fill: var(--bar); } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
ul { padding-left: 1.2rem; }
"""


def render(answer: Mapping[str, Any], *, inputs: Sequence[str], notes: Sequence[str] = ()) -> str:
    """Return predictions as one HTML document: the total in a sentence, the largest, all of them, and the inputs."""
    predictions, total = answer["predictions"], answer["total"]
    made = datetime.now(UTC).isoformat(timespec="minutes")
    versions = sorted({prediction["model_version"] for prediction in predictions})
    title = "What these workloads draw"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="answer">{_text(sentence(total))}</p>',
        *(f"<p>{_text(line)}</p>" for line in tables.total_lines(total)),
        *_largest(predictions),
        "<h2>All workloads</h2>",
        _table(tables.prediction_table(answer)),
        *_list("What a prediction rests on", tables.basis_lines(predictions)),
        *_list("Evidence", _evidence(predictions)),
        *_list("Notes", [*tables.notes_of(predictions), *notes]),
        *_list("Inputs", inputs),
        f'<p class="sub">Made {made} by podpower; model {_text(", ".join(versions) or "none")}.</p>',
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def sentence(total: Mapping[str, Any]) -> str:
    """Return a total in one sentence."""
    power = units.watts(total["total_avg_power_w"])
    if total["total_avg_power_w"] is None:
        return f"The power of {tables.counted(total['workloads'], 'workload')} is unknown."
    parts = [f"{units.kwh(total['kwh_month'])} a month"]
    if "cost_month" in total:
        parts.append(units.money(total["cost_month"], total["currency"]))
    if "co2e_kg_month" in total:
        parts.append(f"{units.co2e(total['co2e_kg_month'])} CO2e")
    between = f" ({tables.interval(total['total_interval'])} at 80 %)" if total["total_interval"] else ""
    workloads = tables.counted(total["workloads"], "workload")
    verb = "draws" if total["workloads"] == 1 else "draw"
    return f"{workloads} {verb} {power}{between}: {', '.join(parts)}."


def _largest(predictions: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    known = [one for one in predictions if one["total_avg_power_w"]]
    if len(known) < 2:
        return
    ordered = sorted(known, key=lambda one: -one["total_avg_power_w"])[:_MOST_BARS]
    most_w = ordered[0]["total_avg_power_w"]
    yield "<h2>The largest</h2>"
    rows = []
    for place, one in enumerate(ordered):
        width = max(1.0, _BAR_PX * one["total_avg_power_w"] / most_w)
        label = f"{units.watts(one['total_avg_power_w'])}  {tables.name_of(one)}"
        rows.append(
            f'<rect x="0" y="{place * 24 + 4}" width="{width:.1f}" height="14"/>'
            f'<text x="{width + 8:.1f}" y="{place * 24 + 16}">{_text(label)}</text>'
        )
    height = 24 * len(ordered)
    label = "Watts of the largest workloads"
    yield f'<div class="wide"><svg role="img" aria-label="{label}" width="900" height="{height}">'
    yield "".join(rows) + "</svg></div>"


def _table(found: tables.Table) -> str:
    def cells(row: Sequence[str], tag: str = "td") -> str:
        kinds = ["n" if column in found.right else "" for column in found.columns]
        return "".join(
            f"<{tag}{f' class={kind}' if kind else ''}>{_text(cell)}</{tag}>"
            for cell, kind in zip(row, kinds, strict=True)
        )

    body = "".join(f"<tr>{cells(row)}</tr>" for row in found.rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells(found.columns, "th")}</tr></thead><tbody>{body}</tbody>'
        f"<tfoot><tr>{cells(found.total)}</tr></tfoot></table></div>"
    )


def _evidence(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{tables.name_of(one)}: {one['evidence']}" for one in predictions[:_MOST_BARS]]


def _list(title: str, lines: Sequence[str]) -> Iterable[str]:
    if lines:
        yield f"<h2>{title}</h2><ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _text(text: str) -> str:
    return escape(printable(text))
