"""HTML from templates, and the headers of every page."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig
from markupsafe import Markup, escape

from podpower import __version__
from podpower.impact import units
from podpower.specs.quoting import printable

_FOLDER: Final = Path(__file__).parent
STATIC: Final = _FOLDER / "static"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _lines(text: str) -> Markup:
    """Return a text escaped, with its lines as they are."""
    return Markup(escape(text))  # noqa: S704  # escaped


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # Every text that is shown: without characters that hide others or change the direction of the text.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    found.filters |= {"watts": units.watts, "kwh": units.kwh, "co2e": units.co2e, "lines": _lines}
    found.globals["version"] = __version__
    return found


_ENVIRONMENT: Final = _environment()


def config() -> TemplateConfig[JinjaTemplateEngine]:
    """Return the templates of the application."""
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(_ENVIRONMENT))


def rendered(template: str, **values: Any) -> str:
    """Return the HTML of a template. Of a large input it takes long: not for the event loop."""
    return _ENVIRONMENT.get_template(template).render(**values)


def answer(html: str, *, status: int = 200) -> Response[str]:
    """Return a page or a part of one."""
    return Response(content=html, status_code=status, media_type="text/html", headers=HEADERS)
