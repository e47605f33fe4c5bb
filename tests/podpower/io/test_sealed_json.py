"""JSON with a digest: a changed bit is an error, older files are read and marked, newer ones are refused."""

from typing import Any

import msgspec
import pytest

from podpower.errors import InvalidInput, Refused
from podpower.io.sealed_json import Format


class Thing(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    values: dict[str, Any] = {}


THING = Format(name="thing", type=Thing)
VALUE = Thing(name='a "quoted" name, ä', values={"sha256": "x", "nested": [1, 2.5, None], "empty": {}})


def test_what_was_written_is_read_and_verified() -> None:
    data = THING.encode(VALUE)
    found = THING.decode(data, what="x")
    assert (found.value, found.verified) == (VALUE, True)
    plain = msgspec.json.decode(data)  # JSON for every reader
    assert (plain["format"], plain["format_version"], plain["name"]) == ("podpower-thing", 2, VALUE.name)


def test_every_flipped_bit_and_every_cut_is_an_error_that_names_the_file() -> None:
    data = THING.encode(VALUE)
    for at in range(len(data) * 8):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(Refused, match=r"^thing\.json "):
            THING.decode(bytes(changed), what="thing.json")
    for length in range(len(data)):
        with pytest.raises(Refused, match=r"^thing\.json "):
            THING.decode(data[:length], what="thing.json")
    with pytest.raises(Refused, match=r"^thing\.json "):
        THING.decode(data + b"\n", what="thing.json")


@pytest.mark.parametrize(
    "data", [b'{"name":"old"}', b'{\n  "format": "podpower-thing", "format_version": 1, "name": "old"}']
)
def test_a_file_without_a_digest_is_read_and_marked(data: bytes) -> None:
    found = THING.decode(data, what="x")
    assert (found.value, found.verified) == (Thing(name="old"), False)


def test_a_newer_version_is_refused_with_the_way_to_read_it() -> None:
    newer = Format(name="thing", type=Thing, version=3).encode(VALUE)
    with pytest.raises(Refused, match=r"x has version 3 .* reads up to 2: .*docs/how-to/upgrade\.md"):
        THING.decode(newer, what="x")


def test_an_older_version_is_migrated_step_by_step() -> None:
    older = THING.encode(VALUE)
    steps = {
        2: lambda fields: fields | {"name": "renamed"},
        3: lambda fields: fields | {"values": {"from": fields["name"]}},
    }
    newer = Format(name="thing", type=Thing, version=4, migrations=steps)
    assert newer.decode(older, what="x").value == Thing(name="renamed", values={"from": "renamed"})


def test_another_kind_of_file_in_its_place_is_refused() -> None:
    other = Format(name="other", type=Thing).encode(VALUE)
    with pytest.raises(Refused, match="other where thing is expected"):
        THING.decode(other, what="x")


def test_values_must_be_plain() -> None:
    with pytest.raises(InvalidInput, match="plain JSON"):
        THING.encode(Thing(name="a", values={"b": object()}))
