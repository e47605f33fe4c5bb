"""Texts made to hurt: each is read in time proportional to its length, and told in a message of bounded length."""

import json

import pytest

from benchmarks.bench_hostile_input import DENSE_MANIFESTS, GOOD, MANIFESTS, MEGABYTE, cpu_ms
from podpower.errors import InvalidInput
from podpower.specs.documents import MAX_BROKEN
from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import read_ndjson
from podpower.specs.selection import Options

MARGIN = 2.5  # of a ratio of CPU times; what is quadratic misses it by far
FLOOR_MS = 1.0  # less is noise
OTHER = GOOD.replace("good", "other")
TEXTS = {**MANIFESTS, **DENSE_MANIFESTS}


def read(text):
    """What is predicted, and what could not be read."""
    found = read_manifests(text, source="f")
    return found.requests, found.errors


@pytest.mark.parametrize("name", TEXTS)
def test_time_grows_no_faster_than_the_text(name):
    small, large = TEXTS[name](MEGABYTE // 10), TEXTS[name](MEGABYTE)
    for _ in range(3):  # another process may disturb any of them
        few_ms, many_ms = cpu_ms(lambda: read(small), runs=2), cpu_ms(lambda: read(large), runs=1)
        if many_ms <= max(few_ms, FLOOR_MS) * len(large) / len(small) * MARGIN:
            return
    pytest.fail(f"{few_ms:.1f} ms for {len(small)} bytes, {many_ms:.1f} ms for {len(large)}")


@pytest.mark.parametrize("name", TEXTS)
def test_messages_are_few_and_short(name):
    _, rejected = read(TEXTS[name](MEGABYTE // 10))
    assert len(rejected) <= MAX_BROKEN + 1
    assert max([len(entry.detail) for entry in rejected], default=0) < 600


@pytest.mark.parametrize(
    ("broken", "separator"),
    [('{"a":"', "\n"), ("a: [", "\n---\n"), ("words", "\n---\n"), ("kind: Pod", "\n---\n"), ('{"a": 1}', "\n")],
    ids=["JSON", "YAML", "texts", "incomplete objects", "objects without kind"],
)
def test_what_is_not_read_after_many_broken_documents_is_counted(broken, separator):
    text = separator.join([GOOD, *[broken] * 3000, GOOD]) + "\n"
    requests, rejected = read(text.encode())
    assert len(requests) == 1
    assert len(rejected) == MAX_BROKEN + 1
    left = (3000 - MAX_BROKEN + 1) * (separator.count("\n")) - (separator.count("\n") - 1)
    first = text.count("\n") - left + 1
    assert f"the document at line {first} and all after it, {left} lines in all, are not read" in rejected[-1].detail


def test_as_many_broken_documents_as_are_allowed_lose_none():
    text = "\n---\n".join([*["a: ["] * (MAX_BROKEN - 1), GOOD])
    requests, rejected = read(text.encode())
    assert (len(requests), len(rejected)) == (1, MAX_BROKEN - 1)


def test_lines_skipped_behind_broken_json_are_counted():
    pretty = json.dumps({"kind": "Pod", "metadata": {"name": "x", "labels": {}}}, indent=2).replace(": {}", ": {")
    requests, rejected = read(f"{GOOD}\n{pretty}\n{OTHER}\n".encode())
    assert len(requests) == 2
    assert [entry.index for entry in rejected] == [1]
    assert f"{pretty.count(chr(10))} more lines" in rejected[0].detail


@pytest.mark.parametrize("depth", [60, 101, 500, *range(960, 1000), 5000])
@pytest.mark.parametrize("read", [read, lambda text: list(read_ndjson([text], source="f"))], ids=["manifest", "line"])
def test_nesting_of_any_depth_is_an_answer(depth, read):
    deep = "[" * depth + "]" * depth
    terms = f'{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"a":{deep}}}]}}}}'
    spec = f'{{"containers":[{{"name":"c","image":"i"}}],"affinity":{{"nodeAffinity":{terms}}}}}'
    found = str(
        read(
            f'{{"kind":"Pod","metadata":{{"name":"a"}},"workload_kind":"Pod","workload_name":"a",'
            f'"spec":{spec},"pod_spec":{spec}}}'.encode()
        )
    )
    assert ("nested " in found) == (depth > 1000) or 960 <= depth < 1000


def test_text_of_powershell_is_read():
    for encoding in ("utf-16", "utf-8-sig"):
        requests, rejected = read(f"---\nkind: Service\n---\n{GOOD}\n".encode(encoding))
        assert [request.workload_name for request in requests] == ["good"]
        assert rejected == []
    _, (entry,) = read(GOOD.encode("utf-16")[:-1])
    assert "neither UTF-8 nor UTF-16" in entry.detail


def test_bytes_that_are_not_utf_8_break_their_document_only():
    requests, rejected = read(f"{GOOD}\n---\na: 1\nb: ".encode() + b"\xff\xfe\n---\n" + OTHER.encode())
    assert len(requests) == 2
    assert [entry.detail for entry in rejected] == ["not valid YAML: line 4: not UTF-8"]
    requests, rejected = read(GOOD.encode() + b'\n{"kind":"\xff"}\n{"kind":"\\ud800"}\n' + OTHER.encode())
    assert len(requests) == 2
    assert [entry.detail.partition(":")[0] for entry in rejected] == ["not valid JSON"] * 2


def test_directives_belong_to_the_document_behind_them():
    requests, rejected = read(f"# of a tool\n%YAML 1.1\n%TAG !e! tag:example.org,2000:\n---\n{GOOD}\n".encode())
    assert (len(requests), rejected) == (1, [])


def test_an_anchor_gives_its_value_to_keys_and_merges():
    text = "base: &b {kind: Pod, &n metadata: {name: a}}\nm: &m <<\nwhole: {*m : *b, *n : {name: c}}\n"
    _, (entry,) = read(text.replace("whole: ", "items:\n- ").replace("base", "kind: List\nbase").encode())
    assert entry.detail.startswith("Pod c: ")


def test_an_anchor_counts_with_all_that_it_repeats():
    deep = "a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60
    assert "*a makes this nested deeper than 100 levels" in read(deep.encode())[1][0].detail
    wide = "a: &a [" + "x," * 200 + "]\n" + "".join(f"b{i}: *a\n" for i in range(100))
    assert "aliases make this document grow" in read(wide.encode())[1][0].detail
    assert "kind: missing" in read(wide.partition("b40:")[0].encode())[1][0].detail


def test_a_reader_of_few_objects_stops_early():
    text = b"kind: List\nitems:\n- &a " + GOOD.encode() + b"\n- *a" * 1000
    found = read_manifests(text, source="f", options=Options(max_objects=1001))
    assert len(found.requests) + len(found.skipped) == 1001
    with pytest.raises(InvalidInput, match="more than 1000 objects"):
        read_manifests(text, source="f", options=Options(max_objects=1000))
