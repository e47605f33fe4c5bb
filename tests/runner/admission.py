"""Admission as the API server does it: it calls the Service of a webhook and trusts the authority of its object."""

import base64
import copy
import json
import logging
import ssl
from typing import Any

import httpx
import jsonpatch

from tests.runner.runner import Runner

Object = dict[str, Any]

# Beside other tests on two cores, the proxies of Services in this process take seconds, which the API server would not
# wait: how fast a review is answered is measured elsewhere.
_PATIENCE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Denied(Exception):
    """An object that must not be created."""


def admitted(runner: Runner, configuration: Object, review: Object) -> Object:
    """The object of a review as it would be stored. Denied where the webhook, or its absence, forbids it."""
    given: Object = copy.deepcopy(review["request"]["object"])
    for webhook in configuration["webhooks"]:
        try:
            response = _called(runner, webhook, review)
        except (OSError, httpx.HTTPError) as error:
            if webhook["failurePolicy"] == "Ignore":
                _log.warning("%s failed and is ignored: %r", webhook["name"], error)
                continue
            raise Denied(f"failed calling webhook {webhook['name']}: {error}") from error
        if not response["allowed"]:
            raise Denied(response["status"]["message"])
        if "patch" not in response:
            _log.warning("%s changes nothing: %s", webhook["name"], response)
        else:
            given = jsonpatch.JsonPatch(json.loads(base64.b64decode(response["patch"]))).apply(given)
    return given


def _called(runner: Runner, webhook: Object, review: Object) -> Object:
    service = webhook["clientConfig"]["service"]
    name = f"{service['name']}.{service['namespace']}.svc"
    trusted = ssl.create_default_context(cadata=base64.b64decode(webhook["clientConfig"]["caBundle"]).decode())
    url = f"https://{runner.address(service['name'])}:{service['port']}{service['path']}"
    with httpx.Client(verify=trusted, timeout=webhook["timeoutSeconds"] + _PATIENCE_SECONDS, trust_env=False) as client:
        answer = client.post(url, json=review, headers={"Host": name}, extensions={"sni_hostname": name})
    answer.raise_for_status()
    response: Object = answer.json()["response"]
    return response
