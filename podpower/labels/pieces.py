"""An export and the pieces of time that it is read in."""

import math
from collections.abc import Generator
from dataclasses import dataclass

import polars as pl

from podpower.errors import InvalidInput
from podpower.hours import HOUR_S, start_of_hour
from podpower.labels.kepler import Energy
from podpower.labels.owners import OwnerSource

PIECE_S = 1200.0
_LONGEST_S = HOUR_S  # of a piece of few samples
_MOST_SAMPLES = 600_000  # of a piece longer than PIECE_S


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Steps of an export: `last_step` counts those up to its end."""

    start_s: float
    end_s: float
    steps: int
    last_step: int
    is_last: bool


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """An export: energy of each pod in [start_s, end_s], in steps with edges at start_s + k * step; without the pods of
    excluded namespaces.
    """

    start_s: float
    end_s: float
    step_seconds: float = 60.0
    energy: Energy = "dynamic"
    owner_source: OwnerSource = "auto"
    exclude_namespaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        step = self.step_seconds
        if not (step > 0 and math.isfinite(step) and self.end_s - self.start_s >= step):
            raise InvalidInput(f"no whole step of {step:g} s between start and end: give a longer range")

    @property
    def included(self) -> pl.Expr:
        """The condition of rows whose namespace is not excluded."""
        return ~pl.col("namespace").is_in(self.exclude_namespaces).fill_null(value=False)

    @property
    def steps(self) -> int:
        """The number of whole steps."""
        return int((self.end_s - self.start_s + 1e-6) // self.step_seconds)

    def pieces(self) -> Generator[Piece, float | None, None]:
        """Yield the pieces in order. Send the samples a second of the one before, where they are known: after an hour,
        pieces of few samples are longer, and end with an hour, since labels wait for its end.
        """
        done, samples_per_s = 0, None
        while done < self.steps:
            start_s = self.start_s + done * self.step_seconds
            length_s = PIECE_S
            if samples_per_s is not None and start_s >= self.start_s + HOUR_S:
                length_s = _length_s(start_s, samples_per_s)
            steps = min(max(1, int((length_s + 1e-6) // self.step_seconds)), self.steps - done)
            done += steps
            samples_per_s = yield Piece(
                start_s=start_s,
                end_s=start_s + steps * self.step_seconds,
                steps=steps,
                last_step=done,
                is_last=done == self.steps,
            )


def _length_s(start_s: float, samples_per_s: float) -> float:
    """Return the length of a piece with at most _MOST_SAMPLES, at least PIECE_S."""
    if samples_per_s * PIECE_S > _MOST_SAMPLES:
        return PIECE_S
    length_s = min(_MOST_SAMPLES / max(samples_per_s, 1.0), _LONGEST_S)
    until_s = start_of_hour(start_s + length_s + 1e-6)
    return until_s - start_s if until_s - start_s >= PIECE_S else length_s
