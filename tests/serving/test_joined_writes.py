"""Pieces of an answer are written together, in order, and never later than the next turn of the event loop."""

import asyncio

import pytest

from podpower_serving.joined_writes import JoinedWrites


class Written(asyncio.Transport):
    """A transport that notes its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def written() -> Written:
    return Written()


def test_head_and_body_are_one_write(written: Written) -> None:
    async def answer() -> None:
        transport = JoinedWrites(written, asyncio.get_running_loop())
        for _ in range(2):
            transport.write(b"head")
            transport.write(b"body")
        await asyncio.sleep(0)

    asyncio.run(answer())
    assert written.writes == [b"headbody", b"headbody"]


def test_a_head_whose_body_takes_long_is_not_held_back(written: Written) -> None:
    async def answer() -> list[bytes]:
        transport = JoinedWrites(written, asyncio.get_running_loop())
        transport.write(b"head")
        await asyncio.sleep(0)
        before = list(written.writes)
        transport.write(b"body")
        await asyncio.sleep(0)
        return before

    assert asyncio.run(answer()) == [b"head"]
    assert written.writes == [b"head", b"body"]


def test_a_large_body_is_not_copied_and_stays_behind_its_head(written: Written) -> None:
    async def answer() -> None:
        transport = JoinedWrites(written, asyncio.get_running_loop())
        transport.write(b"head")
        transport.write(b"x" * 100_000)

    asyncio.run(answer())
    assert [len(piece) for piece in written.writes] == [4, 100_000]


def test_what_is_held_is_written_before_the_connection_closes(written: Written) -> None:
    async def answer() -> None:
        transport = JoinedWrites(written, asyncio.get_running_loop())
        transport.write(b"refused")
        transport.close()

    asyncio.run(answer())
    assert written.writes == [b"refused"]
    assert written.closed


def test_a_closed_connection_takes_nothing(written: Written) -> None:
    async def answer() -> None:
        transport = JoinedWrites(written, asyncio.get_running_loop())
        transport.write(b"head")
        written.close()
        transport.write(b"body")
        await asyncio.sleep(0)

    asyncio.run(answer())
    assert written.writes == []
