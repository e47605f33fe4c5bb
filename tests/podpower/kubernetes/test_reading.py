"""Objects reduced to the fields that are read."""

from typing import Any

import msgspec
import pytest

from podpower.kubernetes.reading import Reader, decode_object
from podpower.kubernetes.types import EnvVar

READER = Reader()
METADATA = {"name": "web", "uid": "u"}


def read(kind: str, **body: Any) -> dict[str, Any]:
    return READER.read({"kind": kind, "metadata": METADATA, **body})


def test_only_fields_of_the_types_remain() -> None:
    container = {"name": "a", "image": "b", "tty": True, "securityContext": {"privileged": True}}
    spec = {"replicas": 2, "paused": True, "template": {"spec": {"containers": [container], "schedulerName": "x"}}}
    assert read("Deployment", spec=spec, status={"phase": "x", "replicas": 2}) == {
        "kind": "Deployment",
        "metadata": METADATA,
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}},
        "status": {"phase": "x"},
    }


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap", "Deployment"])
def test_data_is_read_of_a_controller_revision_only(kind: str) -> None:
    assert "data" not in read(kind, data={"password": "x"})
    assert read("ControllerRevision", data={"spec": {}, "password": "x"})["data"] == {"spec": {}}


@pytest.mark.parametrize(
    ("wrong", "empty"), [("text", ""), ([1], []), ({"a": "text"}, {}), (3, 3), (None, None), (True, True)]
)
def test_a_value_of_a_wrong_type_becomes_an_empty_one_of_its_type(wrong: Any, empty: Any) -> None:
    assert read("Deployment", spec={"replicas": wrong})["spec"] == {"replicas": empty}
    assert read("Pod", spec={"nodeName": [wrong]})["spec"] == {"nodeName": []}


def test_volumes_keep_name_and_type_only() -> None:
    volumes = [{"name": "s", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}, {"name": "c", "csi": {"x": "y"}}]
    assert read("Pod", spec={"volumes": volumes})["spec"]["volumes"] == [
        {"name": "s", "emptyDir": {"medium": "Memory"}},
        {"name": "c", "csi": {}},
    ]


def test_changes_are_applied_to_parts_of_their_type_wherever_they_are() -> None:
    reader = Reader({EnvVar: lambda variable: variable | {"value": "changed"}})
    pod = {"containers": [{"name": "a", "env": [{"name": "A", "value": "x"}]}]}
    for kind, spec in (("Pod", pod), ("Deployment", {"template": {"spec": pod}})):
        found = reader.read({"kind": kind, "metadata": METADATA, "spec": spec})["spec"]
        inner = found if kind == "Pod" else found["template"]["spec"]
        assert inner["containers"][0]["env"] == [{"name": "A", "value": "changed"}]


def test_an_object_with_odd_metadata_is_decoded_whole() -> None:
    raw = msgspec.Raw(b'{"metadata": {"name": 3, "finalizers": []}, "spec": {}}')
    assert decode_object(raw) == {"metadata": {"name": 3, "finalizers": []}, "spec": {}}
    raw = msgspec.Raw(b'{"metadata": {"name": "a", "finalizers": []}, "spec": {"x": 1}, "status": {"phase": "p"}}')
    assert decode_object(raw) == {"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"phase": "p"}}
