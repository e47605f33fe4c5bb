"""Tables of an evaluation, for `train` and `evaluate`."""

from typing import TYPE_CHECKING

from podpower.cli import showing

if TYPE_CHECKING:
    from podpower.model.evaluation import Score, SplitReport


def show_split(split: "SplitReport", *, unit: str) -> None:
    """Scores of a split, ours beside the baselines."""
    columns = (
        "predictor", "WAPE", "log R2", "rank corr.", "median rel. error", f"MAE ({unit})", "R2",
        f"in {split.nominal_coverage:.0%} interval", "pods",
    )  # fmt: skip
    rows = [(name, *_cells(score)) for name, score in split.scores.items()]
    rows += [(f"  {basis}", *_cells(score)) for basis, score in split.by_basis.items()]
    folds = f"{split.folds} fold{'' if split.folds == 1 else 's'}"
    showing.table(columns, rows, title=f"{split.name} ({folds})", right=columns[1:])


def _cells(score: "Score") -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}"

    return (
        showing.number(score.wape),
        showing.number(score.log_r2, 2),
        showing.number(score.rank_correlation, 2),
        percent(score.mdape),
        showing.number(score.mae, 1 if score.mae is not None and score.mae >= 100 else 3),
        showing.number(score.r2, 2),
        percent(score.coverage),
        str(score.count),
    )
