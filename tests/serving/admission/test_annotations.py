"""Objects that are created or changed get the annotations of their prediction, in their metadata and nowhere else."""

import copy
import json

import jsonschema
import kubernetes_validate
import pytest
import yaml

from podpower_serving.admission.annotations import patch_of
from tests.serving.admission.objects import KINDS, TEMPLATE, UID, an_object, patched, review_of, sent

NAMES = {"watts", "watts-per-pod", "kwh-month", "interval", "basis", "model"}
# AdmissionReview of k8s.io/api/admission/v1 types.go, which no OpenAPI document of Kubernetes has.
_RESPONSE = {
    "type": "object",
    "required": ["uid", "allowed"],
    "additionalProperties": False,
    "properties": {
        "uid": {"type": "string"},
        "allowed": {"type": "boolean"},
        "status": {"type": "object"},
        "patch": {"type": "string", "contentEncoding": "base64"},
        "patchType": {"enum": ["JSONPatch"]},
        "auditAnnotations": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
            "additionalProperties": {"type": "string"},
        },
        "warnings": {"type": "array", "items": {"type": "string", "maxLength": 256}},
    },
    "dependentRequired": {"patch": ["patchType"], "patchType": ["patch"]},
}
REVIEW = {
    "type": "object",
    "required": ["apiVersion", "kind", "response"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "admission.k8s.io/v1"},
        "kind": {"const": "AdmissionReview"},
        "response": _RESPONSE,
    },
}


def annotations(obj, response):
    found = patched(obj, response)["metadata"].get("annotations") or {}
    return {name.removeprefix("podpower.dev/"): value for name, value in found.items() if "podpower.dev/" in name}


@pytest.mark.parametrize(("api_version", "kind"), KINDS)
def test_every_kind_is_annotated_in_its_metadata_only(client, api_version, kind):
    obj = an_object(api_version, kind)
    response = sent(client, obj)
    assert (response["uid"], response["allowed"]) == (UID, True)
    result = patched(obj, response)
    without = copy.deepcopy(result)
    del without["metadata"]["annotations"]
    assert without == obj
    assert {"basis", "model"} <= annotations(obj, response).keys() <= NAMES
    if api_version in {"v1", "apps/v1", "batch/v1"}:
        kubernetes_validate.validate(result, "1.34", strict=True)


def test_the_answer_is_an_admission_review(client):
    for obj in (an_object(), an_object("v1", "Pod"), {**an_object(), "kind": "Unheard"}):
        answer = client.post("/admission", content=json.dumps(review_of(obj)))
        assert answer.headers["content-type"] == "application/json"
        jsonschema.Draft202012Validator(REVIEW).validate(answer.json())


def test_the_annotations_are_those_of_the_prediction(client):
    obj = an_object()
    predicted = client.post(
        "/predict/from-yaml", content=yaml.safe_dump(obj), headers={"Content-Type": "application/yaml"}
    ).json()
    found = annotations(obj, sent(client, obj))
    assert float(found["watts"]) == pytest.approx(predicted["total_avg_power_w"], rel=1e-3)
    assert float(found["watts-per-pod"]) == pytest.approx(predicted["pred_avg_power_w"], rel=1e-3)
    assert float(found["kwh-month"]) == pytest.approx(predicted["kwh_month"], rel=1e-3)
    assert json.loads(found["interval"]) == pytest.approx(predicted["total_interval"]["avg_power_w"], rel=1e-3)
    assert (found["basis"], found["model"]) == (predicted["basis"], predicted["model_version"])


def test_an_object_with_several_templates_has_the_sum_of_their_watts(client):
    ray = an_object("ray.io/v1", "RayCluster")
    batch = client.post(
        "/predict/batch", content=yaml.safe_dump(ray), headers={"Content-Type": "application/yaml"}
    ).json()
    found = annotations(ray, sent(client, ray))
    assert len(batch["predictions"]) == 2
    assert float(found["watts"]) == pytest.approx(batch["total"]["total_avg_power_w"], rel=1e-3)
    assert "watts-per-pod" not in found


@pytest.mark.parametrize(("api_version", "kind"), KINDS)
def test_an_object_with_right_annotations_is_not_patched(client, api_version, kind):
    obj = an_object(api_version, kind)
    result = patched(obj, sent(client, obj))
    for operation, old in (("CREATE", None), ("UPDATE", result)):
        response = sent(client, result, operation=operation, old=old)
        assert "patch" not in response
        assert response["auditAnnotations"] == {"outcome": "unchanged"}


def test_an_update_refreshes_annotations(client):
    before = patched(an_object(), sent(client, an_object()))
    after = copy.deepcopy(before)
    after["spec"]["replicas"] = 6
    found = annotations(after, sent(client, after, operation="UPDATE", old=before))
    assert float(found["watts"]) == pytest.approx(2 * float(annotations(before, {})["watts"]), rel=1e-3)
    assert found["watts-per-pod"] == annotations(before, {})["watts-per-pod"]


@pytest.mark.parametrize(
    "given",
    [{}, {"a~b/c": "~1", "podpower.dev/watts": "lots", "podpower.dev/budget-watts": "5"}, {"x": "y" * 1000}],
)
def test_annotations_of_others_stay(client, given):
    obj = an_object(metadata={"annotations": given})
    result = patched(obj, sent(client, obj))["metadata"]["annotations"]
    assert {name: value for name, value in result.items() if name in given and name != "podpower.dev/watts"} == {
        name: value for name, value in given.items() if name != "podpower.dev/watts"
    }
    assert float(result["podpower.dev/watts"]) > 0


def test_null_annotations_are_absent_ones(client):
    obj = an_object(metadata={"annotations": None})
    assert annotations(obj, sent(client, obj)).keys() == NAMES


def test_keys_are_escaped_in_paths():
    operations = patch_of({"a/b~c": "1", "gone": None, "same": "2"}, {"gone": "0", "same": "2"})
    assert operations == [
        {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "1"},
        {"op": "remove", "path": "/metadata/annotations/gone"},
    ]


def test_what_is_not_known_any_more_is_removed(client):
    stale = {"podpower.dev/watts": "1", "podpower.dev/kwh-month": "2", "podpower.dev/interval": "[1, 2]"}
    obj = an_object("batch/v1", "CronJob", metadata={"annotations": stale})
    response = sent(client, obj, operation="UPDATE", old=obj)
    assert not annotations(obj, response).keys() & {"watts", "kwh-month", "interval"}


def test_an_object_without_a_name_yet_is_annotated(client):
    obj = an_object("v1", "Pod")
    obj["metadata"] = {"generateName": "web-"}
    assert annotations(obj, sent(client, obj)).keys() == NAMES


def test_a_workload_that_draws_nothing_has_zero_watts(client):
    obj = an_object("batch/v1", "Job", suspend=True)
    assert annotations(obj, sent(client, obj))["watts"] == "0"
    none = an_object("apps/v1", "ReplicaSet", replicas=0)
    assert annotations(none, sent(client, none))["watts"] == "0"


def test_the_template_has_no_annotation_of_ours(client):
    obj = an_object()
    assert patched(obj, sent(client, obj))["spec"]["template"] == TEMPLATE
