import json
import sys
import threading
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podpower.specs import yaml_values
from podpower.specs.documents import Rejected, read_objects
from podpower.specs.manifests import read_manifests
from tests.podpower.specs.manifests import deployment

GOOD = json.dumps(deployment())


def objects(text: str | bytes) -> list[object]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_objects(data, source="test"))


def test_scalars_are_read_as_kubectl_reads_them() -> None:
    text = """\
a: 2026-01-01
b: 08:30
c: 1e3
d: 0x1F
e: 0644
f: yes
g: "yes"
h: ~
i: 1.5
j: |
  true
k: 12_000
"""
    assert objects(text) == [
        {
            "a": "2026-01-01", "b": "08:30", "c": 1000.0, "d": 31, "e": 420, "f": True, "g": "yes", "h": None, "i": 1.5,
            "j": "true\n", "k": "12_000",
        }
    ]  # fmt: skip


def test_anchors_and_merges_are_followed() -> None:
    assert objects("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\n") == [
        {"base": {"x": 1, "y": 2}, "own": {"x": 1, "y": 3}}
    ]


def test_a_broken_document_does_not_lose_those_around_it() -> None:
    other = json.dumps(deployment("api"))
    found = read_manifests(f"{GOOD}\n---\na: [1\n---\n{other}\n".encode(), source="f.yaml")
    assert len(found.requests) == 2
    assert [error.index for error in found.errors] == [1]
    assert "not valid YAML: line" in found.errors[0].detail


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{k}: &{k} [{','.join(['*' + p] * 10)}]\n" for p, k in zip("abcdefg", "bcdefgh", strict=True)), "aliases"),
        ("a: &a [*a]", "which never ends"),
        ("[" * 5000, "nested deeper"),
        ('{"a":' * 50_000, "nested deeper"),
        ("- " * 20_000 + "x", "nested deeper"),
        ("a: 1\na: 2\n", 'the key "a" is given twice'),
        ("? [a]\n: 1\n", "a key must be a plain text"),
        ("<<: 3\n", "merges mappings only"),
        ("just words", "a string is not a Kubernetes object"),
        ("5", "a number is not a Kubernetes object"),
        ("[null]", "null is not a Kubernetes object"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"a: \x00", "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "a Kubernetes object"),
    ],
    ids=["alias bomb", "endless alias", "deep list", "deep json", "deep yaml", "duplicate key", "complex key",
         "odd merge", "text", "number", "null", "not utf-8", "nul byte", "python tag"],
)  # fmt: skip
def test_what_cannot_be_read_is_rejected_with_the_reason(text: str | bytes, detail: str) -> None:
    found = objects(text)
    if detail == "a Kubernetes object":  # the tag means nothing here: nothing is constructed
        assert found == [{"a": ["id"]}]
    else:
        assert [type(f) for f in found] == [Rejected]
        assert detail in str(found[0])


@pytest.mark.parametrize("text", ["", "\n\n", "---\n---\n", "# nothing\n"])
def test_an_empty_file_has_nothing(text: str) -> None:
    assert objects(text) == []


def test_json_documents_in_a_row_and_lists_are_flattened() -> None:
    assert len(objects(GOOD + "\n" + GOOD)) == 2
    assert len(objects(f"[{GOOD}, {GOOD}]")) == 2
    assert len(objects(f'{{"kind": "List", "items": [{{"kind": "List", "items": [{GOOD}]}}]}}')) == 1
    untyped = {k: v for k, v in deployment().items() if k in {"metadata", "spec"}}
    found = objects(json.dumps({"kind": "DeploymentList", "items": [untyped, 3]}))
    assert found[0]["kind"] == "Deployment"  # type: ignore[index]
    assert isinstance(found[1], Rejected)


def test_a_broken_json_document_does_not_lose_those_around_it() -> None:
    found = objects(f"{GOOD}\n{{broken\n{GOOD}\n{{'a': NaN}}\n")
    assert [type(f) for f in found] == [dict, Rejected, dict, Rejected]
    deep = objects(GOOD + '{"a":' * 50_000)
    assert [type(f) for f in deep] == [dict, Rejected]


def test_an_error_names_the_line_of_the_file() -> None:
    text = f"# a comment\n---\n{GOOD}\n---\nkind: Pod\nmetadata: [x\n"
    assert "not valid YAML: line 7" in str(objects(text)[1])
    assert "line 5: the key" in str(objects("---\n---\nb: 1\na: 1\na: 2\n")[0])


def test_an_explicit_text_stays_one() -> None:
    assert objects("a: !!str 123\nb: !!str yes\nc: 123\n") == [{"a": "123", "b": "yes", "c": 123}]


def test_what_is_rejected_is_numbered_by_its_place_among_the_objects() -> None:
    service = '{"kind": "Service", "metadata": {"name": "s"}}'
    found = read_manifests(
        f'{{"kind": "List", "items": [{GOOD}, {service}]}}\n---\na: [\n---\n7\n'.encode(), source="f"
    )
    assert [error.index for error in found.errors] == [2, 3]


@given(st.binary(max_size=200))
def test_no_input_breaks_the_reader(data: bytes) -> None:
    for found in read_objects(data, source="fuzz"):
        assert isinstance(found, dict | Rejected)
    read_manifests(data, source="fuzz")


_TEXTS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)
_PARTS = st.recursive(_TEXTS, lambda part: st.lists(part, max_size=4) | st.dictionaries(_TEXTS, part, max_size=4))
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(_TEXTS, part, max_size=4),
)


@given(st.lists(_PARTS, min_size=1, max_size=3), st.booleans())
def test_what_pyyaml_writes_is_read_as_it_was(parts: list[object], flow: bool) -> None:
    documents = [{"own": part, "again": [part, {"last": parts}]} for part in parts]  # written with anchors and aliases
    text = yaml.safe_dump_all(documents, default_style='"', default_flow_style=flow, allow_unicode=flow)
    assert objects(text) == documents


@given(st.lists(st.dictionaries(_TEXTS, _PLAIN, max_size=4), min_size=1, max_size=3), st.sampled_from([None, 0, 2]))
def test_json_is_read_alike_in_a_row_in_a_list_and_as_yaml(values: list[dict[str, object]], indent: int | None) -> None:
    values = [{**value, "kind": "x"} for value in values]
    texts = [json.dumps(value, indent=indent, ensure_ascii=False) for value in values]
    assert objects("\n".join(texts)) == objects(f"[{','.join(texts)}]") == values
    assert objects("---\n" + "\n---\n".join(texts)) == values


LONG_TEXTS = {
    "comment": "#" * 8_000_000,
    "folded": ">\n" + " a\n\n" * 2_000_000,
    "escaped": '"' + "\\x41" * 2_000_000 + '"',
}


def turns_beside(text: str) -> int:
    """Read a text, and return how often another thread had its turn meanwhile."""
    done, turns = threading.Event(), 0

    def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    interval, counting = sys.getswitchinterval(), threading.Thread(target=count)
    sys.setswitchinterval(1e-5)
    try:
        counting.start()
        objects(text)
    finally:
        done.set()
        counting.join()
        sys.setswitchinterval(interval)
    return turns


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_other_threads_have_their_turn_while_a_long_text_is_read(text: str) -> None:
    """libyaml reads each of these in one call: requests to the service beside a body of 8 MB waited 100 ms and more."""
    # On a machine that does too much a thread misses most of its turns; in one call it has four, however often.
    assert any(turns_beside(text) > 100 for _ in range(20))


@pytest.mark.parametrize("before", range(-6, 3))
def test_separators_are_found_wherever_a_part_of_a_long_text_ends(before: int) -> None:
    first = "a: " + "x" * (yaml_values._SEARCHED - 3 + before)
    assert objects(f"{first}\n---\nb: 1\n...\n---\nc: 2\n") == [{"a": first[3:]}, {"b": 1}, {"c": 2}]
