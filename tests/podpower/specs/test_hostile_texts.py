"""Texts from outside that patterns are worst at: time grows no faster than their length, and memory stays flat."""

import random
import tracemalloc
from collections.abc import Callable

import pytest

from benchmarks.bench_hostile_input import MEGABYTE, TEXTS, cpu_ms, hostile
from podpower.features.encoder import Encoder
from podpower.features.names import main_image_key
from podpower.features.physical import physical_power_w
from podpower.specs.essentials import essential
from podpower.specs.ndjson import request_from_dict
from podpower.specs.normalising import request_from_object
from podpower.specs.redaction import MAX_CHARS, redact_image, redact_request, redact_text, redact_words
from podpower.specs.requests import Container, InferenceRequest
from tests.podpower.specs.manifests import deployment

MARGIN = 2.5  # of a ratio of CPU times; a quadratic pattern misses it by far
FLOOR_MS = 3.0  # less is noise
SLOWEST = {name: TEXTS[name] for name in ("opaque with plus", "assignments", "URLs", "options", "users", "variables")}


def grows_no_faster(work: Callable[[str], object], fragment: str, *, short: int, long: int) -> bool:
    """Whether `long` characters take no more time, for their length, than `short` ones."""
    few, many = hostile(fragment, short), hostile(fragment, long)
    for _ in range(3):  # another process may disturb any of them
        few_ms, many_ms = cpu_ms(lambda: work(few), runs=2), cpu_ms(lambda: work(many), runs=1)
        if many_ms <= max(few_ms, FLOOR_MS) * long / short * MARGIN:
            return True
    return False


@pytest.mark.parametrize("fragment", TEXTS.values(), ids=TEXTS)
def test_the_time_of_a_text_grows_no_faster_than_its_length(fragment: str) -> None:
    assert grows_no_faster(redact_text, fragment, short=MAX_CHARS // 8, long=MAX_CHARS)
    assert grows_no_faster(redact_text, fragment, short=MEGABYTE // 10, long=MEGABYTE)


@pytest.mark.parametrize("fragment", SLOWEST.values(), ids=SLOWEST)
@pytest.mark.parametrize("redact", [redact_image, lambda text: redact_words(["app", text])], ids=["image", "words"])
def test_the_time_of_an_image_and_an_argument_grows_no_faster(redact: Callable[[str], object], fragment: str) -> None:
    assert grows_no_faster(redact, fragment, short=MAX_CHARS // 8, long=MAX_CHARS)


def test_the_time_of_random_repeats_grows_no_faster_than_their_length() -> None:
    rng = random.Random(11)
    for _ in range(25):
        fragment = "".join(rng.choices([*TEXTS.values(), "x", "1", "@", "/", ",", "&", "<redacted>"], k=3))
        assert grows_no_faster(redact_text, fragment, short=MAX_CHARS // 8, long=MAX_CHARS), repr(fragment)


def test_the_time_of_a_command_line_grows_no_faster_than_its_number_of_words() -> None:
    def read(count: int) -> float:
        return cpu_ms(lambda: redact_words(["-u", "a:b", "-p", "x1", "--token", "x"] * count))

    assert any(read(4000) <= max(read(500), FLOOR_MS) * 8 * MARGIN for _ in range(3))  # one may be disturbed


@pytest.mark.parametrize("size", [20_000, 300_000])
@pytest.mark.parametrize("fragment", SLOWEST.values(), ids=SLOWEST)
def test_a_watched_object_full_of_a_hostile_text_is_read_at_once(fragment: str, size: int) -> None:
    text = hostile(fragment, size)
    manifest = deployment(image=text, args=[text], env=[{"name": "OPTIONS", "value": text}])
    manifest["spec"]["template"]["metadata"]["annotations"] = {"note": text}
    assert cpu_ms(lambda: request_from_object(essential(manifest)), runs=1) < 3000  # one text of 20 KB: 28 s


@pytest.mark.parametrize("fragment", ["a1-", "1", "a", "t2d-a"])
def test_features_of_hostile_names_take_no_longer_than_their_length_allows(encoder: Encoder, fragment: str) -> None:
    def encode(text: str) -> None:
        container = Container(name=text, image=text, command=[text, f"-{text}"])
        request = InferenceRequest(
            workload_kind="Pod", workload_name=text[:1024], node_type=text, labels={text: text}, containers=[container]
        )
        encoder.transform([request])
        physical_power_w([request])

    assert grows_no_faster(encode, fragment, short=MEGABYTE // 10, long=MEGABYTE)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fit([InferenceRequest(workload_kind="Pod", workload_name="w", containers=[Container(image="a")])])


def grown_bytes(work: Callable[[int], object], *, warm_up: int, count: int) -> int:
    """Memory that is held after `count` calls more than after `warm_up`."""
    for number in range(warm_up):
        work(number)
    tracemalloc.start()
    try:
        for number in range(warm_up, warm_up + count):
            work(number)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory_is_flat_over_a_thousand_distinct_arguments_of_a_megabyte() -> None:
    tail = hostile("sk-sk-", MEGABYTE)

    def read(number: int) -> None:
        container = {"image": "a", "args": [f"--option={number} {tail}"]}
        request_from_dict({"workload_kind": "Pod", "workload_name": "w", "containers": [container]})

    assert grown_bytes(read, warm_up=10, count=1000) < 2 * MEGABYTE


def test_memory_is_flat_over_distinct_images_and_node_types_of_a_megabyte() -> None:
    tail = hostile("a", MEGABYTE)

    def encode(number: int) -> None:
        container = Container(image=f"{number}{tail}")
        request = InferenceRequest(
            workload_kind="Pod", workload_name="w", node_type=f"{number}{tail}", containers=[container]
        )
        main_image_key(request)
        physical_power_w([request])

    assert grown_bytes(encode, warm_up=10, count=200) < 2 * MEGABYTE


def test_a_request_without_credentials_stays_the_same_object() -> None:
    request = InferenceRequest(workload_kind="Pod", workload_name="w", containers=[Container(args=["--port=80"])])
    assert redact_request(request) is request
