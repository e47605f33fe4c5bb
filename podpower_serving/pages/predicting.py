"""`/`: predictions of what people paste, drop or type, and of what they compare it with."""

import asyncio
import functools
from typing import Any, Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from podpower.difference.changes import difference
from podpower.errors import InvalidInput, PodpowerError
from podpower.fleet.summary import FleetSummary
from podpower.impact.assessment import Assessment, Inputs, assess
from podpower.model.predictor import Predictor
from podpower.specs.selection import Options, Workloads
from podpower_serving import bodies, errors
from podpower_serving.fleet import Fleet
from podpower_serving.incoming import AnyRequest, media_type_of
from podpower_serving.metrics import Metrics
from podpower_serving.models import Served
from podpower_serving.openapi import MANIFEST_EXAMPLE
from podpower_serving.pages import rendering
from podpower_serving.pages.files import URLS
from podpower_serving.pages.forms import Form, form_of
from podpower_serving.pages.results import compared, error_lines, result_of
from podpower_serving.pages.what_if import moved
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import WorkerThreads

_YAML: Final = bodies.YAML_TYPES[0]
_FORM: Final = "application/x-www-form-urlencoded"
_TOTAL: Final = b"scope=total"  # as browsers send it: it needs the idle watts of the fleet summary


class PredictingPage(Controller):
    """The page that predicts."""

    include_in_schema = False

    @get("/")
    async def page(self, settings: NamedDependency[Settings]) -> Response[str]:
        """Return the page with an empty form."""
        return rendering.answer(await asyncio.to_thread(_page, Form(), settings, {}))

    @post("/estimate", status_code=200)
    async def estimate(
        self,
        request: AnyRequest,
        *,
        served: NamedDependency[Served],
        settings: NamedDependency[Settings],
        metrics: NamedDependency[Metrics],
        fleet: NamedDependency[Fleet],
        threads: NamedDependency[WorkerThreads],
    ) -> Response[str]:
        """Return the result of a form: its part of the page for htmx, the whole page for a browser without scripts."""
        media_type_of(request, _FORM)
        body = await request.body()
        is_part = request.headers.get("hx-request") == "true"
        # A store that hangs is waited for here, and not in a thread that predicts.
        summary = await asyncio.to_thread(fleet.summary) if _TOTAL in body else None
        estimated = functools.partial(_estimate, served, settings, metrics, summary, is_part=is_part)
        html, status = await threads.run(estimated, body)
        return rendering.answer(html, status=status)


def _estimate(
    served: Served, settings: Settings, metrics: Metrics, summary: FleetSummary | None, body: bytes, *, is_part: bool
) -> tuple[str, int]:
    form, values, status = Form(), dict[str, Any](), 200
    try:
        form = form_of(body)
        values = _values(served.predictor, form, settings, metrics, summary)
    except PodpowerError as error:
        found = errors.status_of(error)
        if found is None:
            raise
        values, status = {"problem": str(error)}, found.value
    if is_part:
        return rendering.rendered("result.html", **_complete(values), is_part=True), status
    return _page(form, settings, values), status


def _page(form: Form, settings: Settings, values: dict[str, Any]) -> str:
    return rendering.rendered(
        "predicting.html",
        **_complete(values),
        is_part=False,
        urls=URLS,
        form=form,
        options=form.options,
        docs=settings.docs,
        keys=settings.api_keys_file is not None,
        example=MANIFEST_EXAMPLE,
        most_bytes=settings.max_body_bytes,
    )


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    return {"problem": None, "result": None, "compared": None, "controls": None} | values


def _values(
    predictor: Predictor, form: Form, settings: Settings, metrics: Metrics, summary: FleetSummary | None
) -> dict[str, Any]:
    options, inputs = form.reading(max_rows=settings.max_batch_rows), form.inputs(summary)
    if not form.manifest.strip():
        raise InvalidInput("paste a manifest: a Deployment, a Job or another kind with pods")
    workloads = _workloads(form.manifest, options)
    as_is = assess(predictor, workloads, inputs)
    metrics.predicted(as_is.predictions)
    if not as_is.requests and not as_is.errors and not as_is.skipped:
        raise InvalidInput("there is no object in the manifest: paste a Deployment, a Job or another kind with pods")
    found, controls = moved(predictor, workloads, as_is, form.sliders, inputs)
    unused = inputs.usage.unused_line(workloads.requests) if inputs.usage else ""
    return {
        "result": result_of(predictor, found, inputs, warnings=[unused] if unused else []),
        "controls": controls,
        "compared": _compared(predictor, form.before, found, options, inputs) if form.before.strip() else None,
    }


def _compared(predictor: Predictor, before: str, after: Assessment, options: Options, inputs: Inputs) -> Any:
    try:
        old = assess(predictor, _workloads(before, options), inputs)
    except PodpowerError as error:
        raise InvalidInput(f"the manifest to compare with: {error}") from None
    return {"difference": compared(difference(predictor, old, after), inputs), "errors": error_lines(old.errors)}


def _workloads(text: str, options: Options) -> Workloads:
    media_type = bodies.JSON if text.lstrip()[:1] == "[" else _YAML
    try:
        return bodies.batch(text.encode(), media_type=media_type, options=options)
    except UnicodeEncodeError:
        raise InvalidInput("the manifest is not valid text") from None
