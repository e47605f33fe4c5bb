"""Tables of an evaluation, for `train` and `evaluate`."""

from typing import IO, TYPE_CHECKING

from podpower.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podpower.evaluation.evaluate import Score, SplitReport


def show_split(split: "SplitReport", *, unit: str, stream: IO[str] | None = None) -> None:
    """Scores of a split, ours beside the baselines, on standard output unless told otherwise."""
    columns = (
        "predictor", "WAPE", "log R2", "rank corr.", "median rel. error", f"MAE ({unit})", "sum",
        *(f"in {level:.0%}" for level in split.levels), "pods",
    )  # fmt: skip
    rows = [(name, *_cells(score, split.levels)) for name, score in split.scores.items()]
    rows += [(f"  {basis}", *_cells(score, split.levels)) for basis, score in split.by_basis.items()]
    rows += [(f"  without {block}", *_cells(score, split.levels)) for block, score in split.ablation.items()]
    output.table(columns, rows, title=f"{split.name} ({split.extent})", right=columns[1:], stream=stream)


def _cells(score: "Score", levels: "Sequence[float]") -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}"

    return (
        output.number(score.wape),
        output.number(score.log_r2, 2),
        output.number(score.rank_correlation, 2),
        percent(score.mdape),
        output.number(score.mae, 1 if score.mae is not None and score.mae >= 100 else 3),
        output.number(score.total_ratio, 2),
        *(percent(score.coverages.get(f"{level:g}")) for level in levels),
        str(score.count),
    )
