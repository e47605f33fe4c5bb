"""Pieces of an export cover its steps once; those of few samples are longer."""

import pytest

from podpower.labels.pieces import PIECE_S, LabelRequest, Piece

START_S = 1767258000.0


def pieces(*, hours: float, samples_per_s: float | None, start_s: float = START_S, step_s: float = 60.0) -> list[Piece]:
    request = LabelRequest(start_s=start_s, end_s=start_s + hours * 3600, step_seconds=step_s)
    generator = request.pieces()
    found = [next(generator)]
    while True:
        try:
            found.append(generator.send(samples_per_s))
        except StopIteration:
            return found


@pytest.mark.parametrize("step_s", [7.0, 60.0, 1000.0, 3600.0])
@pytest.mark.parametrize("samples_per_s", [None, 0.0, 60.0, 300.0, 1e6])
@pytest.mark.parametrize("start_s", [START_S, START_S + 1234.5])
def test_pieces_cover_all_steps_once(step_s: float, samples_per_s: float | None, start_s: float) -> None:
    found = pieces(hours=7.3, samples_per_s=samples_per_s, start_s=start_s, step_s=step_s)
    assert [piece.last_step for piece in found] == [sum(p.steps for p in found[: n + 1]) for n in range(len(found))]
    assert found[-1].last_step == int(7.3 * 3600 // step_s)
    assert [piece.start_s for piece in found[1:]] == pytest.approx([piece.end_s for piece in found[:-1]], abs=1e-6)
    assert [piece.is_last for piece in found] == [False] * (len(found) - 1) + [True]


def test_pieces_of_few_samples_are_an_hour_long_after_the_first_hour() -> None:
    lengths = [piece.end_s - piece.start_s for piece in pieces(hours=4, samples_per_s=70.0)]
    assert lengths == [PIECE_S] * 3 + [3600.0] * 3


def test_pieces_of_many_samples_stay_short() -> None:
    assert {piece.steps for piece in pieces(hours=4, samples_per_s=2000.0)} == {20}


def test_longer_pieces_end_with_an_hour() -> None:
    ends = [piece.end_s % 3600 for piece in pieces(hours=5, samples_per_s=70.0, start_s=START_S + 900.0)]
    assert ends[3:-1] == [0.0] * len(ends[3:-1])
