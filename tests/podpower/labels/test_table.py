"""Labels files, ours and the reference system's."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from podpower.errors import InvalidInput
from podpower.io.parquet import TableFile
from podpower.labels import read_labels
from podpower.labels.batches import LabelBatches


def exported(steps: int = 4, **columns: Any) -> pl.DataFrame:
    """As k8sPodPCP writes it: no power, no energy in a pod's first step, pseudo-pods among the pods."""
    rows = [
        {
            "ts": 1761811743.0 + 60 * step,
            "namespace": "kernel" if pod == "kernel_processes" else "shop",
            "workload_kind": "Pod" if pod == "kernel_processes" else "Deployment",
            "workload_name": pod,
            "pod": pod,
            "avg_power_w": None,
            "energy_step_j": None if step == 0 else 30.0,
        }
        for pod in ("web-1", "kernel_processes")
        for step in range(steps)
    ]
    table = pl.DataFrame(rows, schema_overrides={"avg_power_w": pl.Float64, "energy_step_j": pl.Float64})
    return table.with_columns(**columns)


def read(table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    table.write_parquet(folder / "labels.parquet")
    return read_labels(folder / "labels.parquet")


def test_files_of_the_reference_system_are_read_as_they_are(tmp_path: Path) -> None:
    labels = read(exported(), tmp_path)
    assert labels["pod"].unique().to_list() == ["web-1"]
    assert labels["step_seconds"].unique().to_list() == [60.0]
    assert labels["avg_power_w"].to_list() == [None, 0.5, 0.5, 0.5]
    assert labels["reason"].to_list() == ["not_reported", None, None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("pod"), "no column pod"),
        (lambda t: t.drop("energy_step_j", "avg_power_w"), "no column energy_step_j"),
        (lambda t: t.with_columns(pl.col("energy_step_j").cast(pl.String)), "column energy_step_j holds String"),
        (lambda t: t.with_columns(energy_step_j=-1.0), "column energy_step_j has .* negative or infinite"),
        (lambda t: t.with_columns(energy_step_j=math.inf), "column energy_step_j has .* negative or infinite"),
        (lambda t: t.with_columns(ts=None), "column ts"),
        (lambda t: pl.concat([t, t]), "rows share pod and ts"),
        (lambda t: t.with_columns(ts=pl.from_epoch("ts")), "column ts holds Datetime"),
        (lambda t: t.with_columns(workload_name=3), "column workload_name holds"),
    ],
)
def test_a_wrong_file_is_refused_by_its_column(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(change(exported()), tmp_path)


def test_a_file_of_jobs_is_known_by_its_total(tmp_path: Path) -> None:
    jobs = pl.DataFrame(
        {"namespace": ["n"], "workload_kind": ["Job"], "workload_name": ["j"], "pod": ["j-1"], "total_energy_j": [5.0]}
    )
    assert read(jobs, tmp_path)["total_energy_j"].to_list() == [5.0]


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_text("ts,pod\n")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        read_labels(tmp_path / "labels.parquet")
    with pytest.raises(InvalidInput, match="no such file"):
        read_labels(tmp_path / "none.parquet")


def read_in_batches(table: pl.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    monkeypatch.setattr("podpower.labels.batches._BATCH_ROWS", 3)
    table.write_parquet(folder / "labels.parquet")
    file = TableFile(path=folder / "labels.parquet", command="make it")
    return pl.concat(LabelBatches({"labels.parquet": file}))


def test_a_file_reads_the_same_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(exported(steps=10), tmp_path)
    assert read_in_batches(exported(steps=10), tmp_path, monkeypatch).equals(whole)
    assert read_in_batches(exported().clear(), tmp_path, monkeypatch).equals(whole.clear())


def test_labels_of_one_pod_and_time_in_two_batches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="16 rows share pod and ts with another"):
        read_in_batches(pl.concat([exported(steps=8)] * 2), tmp_path, monkeypatch)


def runs(outcomes: dict[str, str | None], **columns: Any) -> pl.DataFrame:
    """Job labels of pods by how they ended."""
    return pl.DataFrame({"pod": list(outcomes), "outcome": pl.Series(list(outcomes.values()), dtype=pl.String)}).select(
        pl.lit("n").alias("namespace"), pl.lit("Job").alias("workload_kind"), pl.lit("j").alias("workload_name"),
        "pod", "outcome", pl.lit(5.0).alias("total_energy_j"), pl.lit(0.9).alias("known_share"),
        *(pl.lit(value).alias(name) for name, value in columns.items()),
    )  # fmt: skip


def test_steps_and_runs_of_two_files_are_one_table(tmp_path: Path) -> None:
    ended = runs({"done": "succeeded", "killed": "deleted", "unknown": None}, note="of runs")
    for name, table in {"steps": exported(steps=4), "runs": ended}.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    files = {name: TableFile(path=tmp_path / f"{name}.parquet", command="make it") for name in ("runs", "steps")}
    batches = LabelBatches(files)
    table = pl.concat(batches)
    assert table["pod"].value_counts().sort("pod").rows() == [("done", 1), ("web-1", 4)]
    assert table.filter(pl.col("ts").is_null())["pod"].to_list() == ["done"]
    assert table["note"].drop_nulls().to_list() == ["of runs"]
    assert batches.runs_left_out == 2
    alone = LabelBatches({"runs": files["runs"]})
    assert (len(pl.concat(alone)), alone.runs_left_out) == (3, 0)


def test_a_step_that_two_files_have_is_refused(tmp_path: Path) -> None:
    exported(steps=4).write_parquet(tmp_path / "a.parquet")
    exported(steps=6).write_parquet(tmp_path / "b.parquet")
    files = {name: TableFile(path=tmp_path / name, command="make it") for name in ("a.parquet", "b.parquet")}
    with pytest.raises(InvalidInput, match=r"a.parquet, b.parquet: 8 rows share pod and ts with another"):
        pl.concat(LabelBatches(files))


def test_steps_and_runs_in_one_file_are_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="labels of 1 runs stand among those of steps; write them to two files"):
        read(pl.concat([exported(), runs({"done": "succeeded"})], how="diagonal_relaxed"), tmp_path)


def test_columns_of_two_types_are_refused_by_their_files(tmp_path: Path) -> None:
    one, other = exported(steps=1).with_columns(extra=pl.lit(1)), runs({"done": "succeeded"}, extra=[1])
    with pytest.raises(InvalidInput, match="one, other: columns of different types"):
        LabelBatches({"one": one, "other": other})
