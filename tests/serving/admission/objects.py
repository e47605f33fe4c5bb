"""Objects as the API server sends them, and reviews of them."""

import base64
import copy
import json

import jsonpatch

POD_SPEC = {
    "containers": [{"name": "c", "image": "acme/app1:1", "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}}}]
}
TEMPLATE = {"metadata": {"labels": {"app": "web"}, "annotations": {"note": "of the template"}}, "spec": POD_SPEC}
SELECTOR = {"matchLabels": {"app": "web"}}
_SPECS = {
    ("v1", "Pod"): POD_SPEC,
    ("v1", "ReplicationController"): {"replicas": 2, "selector": {"app": "web"}, "template": TEMPLATE},
    ("apps/v1", "Deployment"): {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
    ("apps/v1", "ReplicaSet"): {"replicas": 2, "selector": SELECTOR, "template": TEMPLATE},
    ("apps/v1", "StatefulSet"): {"replicas": 2, "serviceName": "web", "selector": SELECTOR, "template": TEMPLATE},
    ("apps/v1", "DaemonSet"): {"selector": SELECTOR, "template": TEMPLATE},
    ("batch/v1", "Job"): {
        "parallelism": 2,
        "completions": 4,
        "template": {**TEMPLATE, "spec": {**POD_SPEC, "restartPolicy": "Never"}},
    },
    ("batch/v1", "CronJob"): {
        "schedule": "*/10 * * * *",
        "jobTemplate": {"spec": {"template": {**TEMPLATE, "spec": {**POD_SPEC, "restartPolicy": "Never"}}}},
    },
    ("argoproj.io/v1alpha1", "Rollout"): {"replicas": 2, "selector": SELECTOR, "template": TEMPLATE},
    ("ray.io/v1", "RayCluster"): {
        "headGroupSpec": {"template": TEMPLATE},
        "workerGroupSpecs": [{"groupName": "small", "replicas": 3, "template": TEMPLATE}],
    },
}
KINDS = sorted(_SPECS)
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


def an_object(api_version="apps/v1", kind="Deployment", *, name="web", metadata=None, **spec):
    """An object of the kind in namespace shop."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **(metadata or {})},
        "spec": {**copy.deepcopy(_SPECS[api_version, kind]), **spec},
    }


def review_of(obj, *, operation="CREATE", old=None, **fields):
    """The review that the API server would send."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = {"group": group, "version": version, "kind": obj["kind"]}
    resource = {"group": group, "version": version, "resource": f"{obj['kind'].lower()}s"}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": str(obj["metadata"].get("name", "")),
            "namespace": "shop",
            "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": None if operation == "DELETE" else obj,
            "oldObject": obj if operation == "DELETE" else old,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            **fields,
        },
    }


def sent(client, obj, **fields):
    """The response to a review of an object."""
    body = json.dumps(review_of(obj, **fields))
    answer = client.post("/admission?timeout=10s", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()["response"]


def patched(obj, response):
    """The object after the patch of a response."""
    if "patch" not in response:
        return obj
    assert response["patchType"] == "JSONPatch"
    return jsonpatch.JsonPatch(json.loads(base64.b64decode(response["patch"]))).apply(copy.deepcopy(obj))
