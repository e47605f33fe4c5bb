"""The OpenAPI document and the service agree: schemathesis with all of its checks, over a real socket."""

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from podpower_serving.app import create_app
from podpower_serving.settings import Settings

EXAMPLES = 5
# Formats whose rules no schema can express.
schemathesis.openapi.format("cron", st.sampled_from(["*/5 * * * *", "0 3 * * 1", "@daily"]))
schemathesis.openapi.format("time-zone", st.sampled_from(["Europe/Berlin", "Etc/UTC"]))
schemathesis.openapi.format("plain-name", st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z"))
OPERATIONS = [
    (verb.upper(), path)
    for path, verbs in create_app(Settings()).openapi_schema.to_schema()["paths"].items()
    for verb in verbs
]


@pytest.fixture(scope="module")
def document(client):
    return schemathesis.openapi.from_url(f"{str(client.base_url).rstrip('/')}/openapi.json")


@pytest.mark.parametrize(("verb", "path"), OPERATIONS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:schemathesis")
def test_an_operation_does_what_its_description_says(document, verb, path):
    operation = document[path][verb]

    modes = [schemathesis.GenerationMode.POSITIVE]
    if verb == "POST" and path != "/admission":  # others have nothing that can be wrong
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        def check(case):
            case.call_and_validate(excluded_checks=excluded(case))

        check()


def excluded(case):
    """A manifest is a text, but not every text is a manifest; a total scope needs the idle watts of a vCPU; and a wrong
    row of a batch is listed among its errors.
    """
    is_text = case.path == "/diff" or (
        case.media_type is not None and ("yaml" in case.media_type or case.media_type == "text/plain")
    )
    lacks = (case.query or {}).get("scope") == "total" and "idle_w_per_vcpu" not in case.query
    found = [positive_data_acceptance] if is_text or lacks else []
    has_rows = case.path == "/predict/batch" and isinstance(case.body, list)
    return [*found, negative_data_rejection] if has_rows else found


def test_all_checks_are_made():
    names = CHECKS.get_all_names()
    assert {"not_a_server_error", "response_schema_conformance", "negative_data_rejection"} <= set(names)
