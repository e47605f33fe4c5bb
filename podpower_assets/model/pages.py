"""The page of a candidate's evaluation, kept beside it in the store, and its link."""

from typing import Any

import dagster as dg

from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.report import render
from podpower.registry.versions import MAX_REPORT_BYTES
from podpower_assets.resources import Models


def page_of(report: EvaluationReport | None, *, title: str) -> bytes | None:
    """Return the evaluation as a page; None without one, and where it is larger than what a store keeps."""
    page = b"" if report is None else render(report, title=title).encode()
    return page if 0 < len(page) <= MAX_REPORT_BYTES else None


def link(models: Models, version: str) -> dict[str, Any]:
    """Return a link to the report of a version, as the prediction service shows it; nothing without a report."""
    url = models.report_url(version)
    return {} if url is None else {"report": dg.MetadataValue.url(url)}
