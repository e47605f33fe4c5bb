"""The form of the page at `/`, as browsers send it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from podpower.errors import InvalidInput
from podpower.fleet.summary import FleetSummary, idle_of
from podpower.impact import parameters
from podpower.impact.assessment import Inputs
from podpower.impact.carbon import carbon_by_hour
from podpower.impact.scope import Idle
from podpower.impact.usage import usage_in
from podpower.kubernetes.limits import MAX_COUNT
from podpower.specs.quoting import quoted
from podpower.specs.selection import Options
from podpower_serving import bodies

MOST_DOUBLINGS: Final = 6  # half doublings of CPU and memory, in each direction
_MOST_FIELDS: Final = 40
_PART_BYTES: Final = 1 << 16  # that are unquoted at a time: a single call would hold Python's lock for long
_PLAIN: Final = (*bodies.OPTIONS, *parameters.NAMES)


@dataclass(frozen=True, kw_only=True)
class Sliders:
    """Positions of the sliders for one workload. `replicas` None: as in the manifest; `cpu` and `memory` are half
    doublings of what it requests, 0: as in the manifest. `of` names the manifest that they were made for.
    """

    workload: str = ""
    replicas: int | None = None
    cpu: int = 0
    memory: int = 0
    of: str = ""
    draw_again: bool = False


@dataclass(frozen=True, kw_only=True)
class Form:
    """Texts of a manifest, of the one that it is compared with, of usage and of carbon by hour; options, sliders."""

    manifest: str = ""
    before: str = ""
    usage: str = ""
    carbon_by_hour: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    sliders: Sliders = field(default_factory=Sliders)

    def reading(self, *, max_rows: int) -> Options:
        """Return how manifests are read. InvalidInput names the field."""
        return bodies.options_of({name: self.options.get(name) or None for name in bodies.OPTIONS}, max_rows=max_rows)  # type: ignore[misc]

    def inputs(self, summary: FleetSummary | None = None) -> Inputs:
        """Return price, carbon, scope and usage. Carbon by hour replaces one value; idle watts that are not given are
        those of the fleet summary. InvalidInput names the field.
        """
        idle = idle_of(summary, self.options.get("cluster"))
        measured = Idle(w_per_vcpu=idle[0], source=f"{idle[1]}; of the fleet summary") if idle else None
        found = parameters.inputs_from(self.options, measured=measured)
        if self.carbon_by_hour.strip():
            carbon = carbon_by_hour(self.carbon_by_hour.encode("utf-8", "surrogatepass"), name="the given CSV")
            found = replace(found, rates=replace(found.rates, carbon=carbon))
        return replace(found, usage=usage_in(self.usage)) if self.usage.strip() else found


def form_of(body: bytes) -> Form:
    """Return a form. InvalidInput when it is not one."""
    try:
        texts = _texts(body)
    except ValueError:
        raise InvalidInput(f"this is no form with at most {_MOST_FIELDS} fields: use the page at /") from None
    return Form(
        manifest=texts.get("manifest", ""),
        before=texts.get("before", ""),
        usage=texts.get("usage", ""),
        carbon_by_hour=texts.get("carbon_by_hour", ""),
        options={name: texts[name].strip() for name in _PLAIN if texts.get(name, "").strip()},
        sliders=Sliders(
            workload=texts.get("workload", ""),
            replicas=_whole("replicas", texts.get("replicas"), least=0, most=MAX_COUNT),
            cpu=_whole("cpu", texts.get("cpu"), least=-MOST_DOUBLINGS, most=MOST_DOUBLINGS) or 0,
            memory=_whole("memory", texts.get("memory"), least=-MOST_DOUBLINGS, most=MOST_DOUBLINGS) or 0,
            of=texts.get("of", ""),
            draw_again=texts.get("draw_again", "") == "1",
        ),
    )


def _texts(body: bytes) -> dict[str, str]:
    """Return the fields of a form (application/x-www-form-urlencoded). ValueError when it has too many, or is no text.

    >>> _texts(b"a=1+2%2B3&b=&c")
    {'a': '1 2+3', 'b': '', 'c': ''}
    """
    body.decode()
    if body.count(b"&") >= _MOST_FIELDS:
        raise ValueError
    pairs = (field.partition(b"=") for field in body.split(b"&") if field)
    return {_unquoted(name): _unquoted(text) for name, _, text in pairs}


def _unquoted(text: bytes) -> str:
    pieces, start = [], 0
    while start < len(text):
        end = start + _PART_BYTES
        cut = text.rfind(b"%", end - 2, end)  # an escape that goes on behind the end
        end = cut if cut > 0 else end
        pieces.append(unquote_to_bytes(text[start:end].replace(b"+", b" ")))
        start = end
    return b"".join(pieces).decode("utf-8", "replace")


def _whole(name: str, text: str | None, *, least: int, most: int) -> int | None:
    if not text:
        return None
    number = int(text) if len(text) <= 12 and text.removeprefix("-").isdecimal() and text.isascii() else most + 1
    if not least <= number <= most:
        raise InvalidInput(f'{name}: must be a whole number from {least} to {most}; got "{quoted(text)}"')
    return number
