"""No damaged byte of a table passes: a reader gives the table that was written, or names the file and how to make it
again. Tables without checksums, such as those of the reference system, are read as they are."""

import ast
import contextlib
import hashlib
import io
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import podpower.io.parquet
from podpower.cli import main
from podpower.datasets.join import join_rows
from podpower.datasets.tables import keyed, read_training_rows
from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.features.table import features_table, read_features
from podpower.io.parquet import TableFile, scanned, write_parquet
from podpower.labels import LabelRequest, label_jobs, label_windows, read_labels
from podpower.simulation import simulate
from podpower.sources.protocols import Selector
from podpower.sources.recording import SAMPLES, SERIES, TRUTH, Recording
from podpower.specs.observing import observe
from podpower.specs.table import requests_of, specs_table

START_S, HOUR = 1767258000.0, "2026-01-01T09"
FLIPS = 500
Reader = Callable[[Path], list[pl.DataFrame]]


@dataclass(frozen=True)
class Case:
    """A file, how it is read, what it gives, and what an error about it has to name beside it."""

    name: str
    path: Path
    read: Reader
    named: tuple[str, ...]
    whole: list[pl.DataFrame]


def table_file(path: Path) -> TableFile:
    return TableFile(path=path, partition="2026-01-01-09:00 of a", command="make it")


def scan(path: Path) -> list[pl.DataFrame]:
    file = table_file(path)
    with file.readable():
        return [file.scan().collect()]


def several(path: Path) -> list[pl.DataFrame]:
    with scanned([table_file(path)] * 2) as queries:
        return [pl.concat(queries).collect()]


def vectors(path: Path) -> list[pl.DataFrame]:
    rows = read_training_rows(path)
    light = pl.concat(rows.batches())
    return [light, pl.DataFrame(rows.vectors(light.select(keyed()).unique(maintain_order=True)))]


PARTS: dict[str, Reader] = {
    "read": lambda path: [table_file(path).read()],
    "scan": scan,
    "scan of a column": lambda path: [table_file(path).scan().select(pl.first()).collect()],
    "scan of several": several,
    "bytes": lambda path: [table_file(path).parse(path.read_bytes())],
}


def write_as_before(path: Path) -> None:
    """Write a table again in the form of earlier versions: by pyarrow, with page checksums and a mark at the start."""
    table = pl.read_parquet(path).to_arrow(compat_level=pl.CompatLevel.oldest())
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        sink.write(podpower.io.parquet._MARK)
        writer.write_table(table)
    whole = path.read_bytes()
    footer = footer_of(whole)
    record = podpower.io.parquet._MARK + hashlib.sha256(whole).digest()
    path.write_bytes(whole[:footer] + record + whole[footer:])


def of_recording(path: Path) -> list[pl.DataFrame]:
    recording = Recording(path.parents[2])
    window = {"start_s": START_S, "end_s": START_S + 3600}
    metrics = sorted(recording.metric_names(**window))
    found = recording.samples([Selector(metric=metric) for metric in metrics], **window)
    return [pl.DataFrame({"metric": metrics}), found.series, found.points.sort("series_id", "ts"), recording.truth()]


@pytest.fixture(scope="module", params=["as written now", "as written before"])
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Every table that podpower writes, small, each with its readers, in both forms."""
    folder = tmp_path_factory.mktemp("tables")
    root = folder / "recording"
    simulate(root, seed=5, start_s=START_S, hours=1, workloads=6)
    recording = Recording(root)
    events = recording.events(start_s=recording.start_s, end_s=recording.end_s)
    specs = specs_table(observe(events, start_s=recording.start_s, end_s=recording.end_s, cluster="sim")[0])
    asked = LabelRequest(start_s=recording.start_s, end_s=recording.end_s)
    labels, jobs = label_windows(recording, specs, asked).table, label_jobs(recording, specs, asked).table
    encoder = Encoder.fit(requests_of(specs))
    features = features_table(requests_of(specs), encoder.transform(requests_of(specs)), encoder=encoder)
    rows = join_rows(features, labels)
    write_parquet(specs, folder / "specs.parquet")
    write_parquet(features, folder / "features.parquet")
    write_parquet(labels, folder / "labels.parquet")
    write_parquet(jobs, folder / "jobs.parquet")
    write_parquet(rows.chunks(size=200), folder / "rows.parquet")
    if request.param == "as written before":
        for path in folder.rglob("*.parquet"):
            write_as_before(path)
    readers: dict[str, dict[str, Reader]] = {
        "specs": {},
        "features": {"read_features": lambda path: [read_features(path)]},
        "labels": {"read_labels": lambda path: [read_labels(path)]},
        "jobs": {"read_labels": lambda path: [read_labels(path)]},
        "rows": {"read_training_rows": vectors},
    }
    commands = {
        "read_features": "podpower encode transform",
        "read_labels": "podpower label",
        "read_training_rows": "podpower join",
    }
    found = []
    for name, own in readers.items():
        path = folder / f"{name}.parquet"
        last = pq.read_schema(path).names[-1]

        def column(path: Path, last: str = last) -> list[pl.DataFrame]:
            with table_file(path).parquet() as file:
                return [pl.concat(pl.from_arrow(batch) for batch in file.iter_batches(batch_size=64, columns=[last]))]

        for reader, read in (PARTS | {"column": column} | own).items():
            named = (commands[reader],) if reader in commands else ("partition 2026-01-01-09:00 of a", "make it")
            found.append(Case(f"{name}, {reader}", path, read, named, read(path)))
    for part in (SERIES, SAMPLES, TRUTH):
        path = next((root / part / HOUR).glob("*.parquet"))
        named = (f"partition {HOUR}", f"podpower simulate --out {shlex.quote(str(root))} --again {HOUR}")
        found.append(Case(f"recording, {part}", path, of_recording, named, of_recording(path)))
    return found


def outcome(case: Case) -> str:
    """Return `error` or `same`; an error that lacks something as it is. Fails for another table."""
    try:
        tables = case.read(case.path)
    except InvalidInput as error:
        message = str(error)
        complete = all(part in message for part in (str(case.path), *case.named)) and "\n" not in message
        return "error" if complete else f"{case.name}: {message}"
    assert len(tables) == len(case.whole), case.name
    for table, expected in zip(tables, case.whole, strict=True):
        assert_frame_equal(table, expected)
    return "same"


def footer_of(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def places(data: bytes) -> list[range]:
    """The whole file, and each of its parts that is no page."""
    footer = footer_of(data)
    return [
        range(len(data)),
        range(64),
        range(footer - 48, footer),
        range(footer, len(data)),
        range(len(data) - 8, len(data)),
    ]


def test_no_flipped_bit_passes(cases: list[Case]) -> None:
    chance = random.Random(11)
    outcomes = []
    for number in range(FLIPS):
        case = cases[number % len(cases)]
        whole = case.path.read_bytes()
        damaged = bytearray(whole)
        damaged[chance.choice(chance.choice(places(whole)))] ^= 1 << chance.randrange(8)
        case.path.write_bytes(damaged)
        try:
            outcomes.append(outcome(case))
        finally:
            case.path.write_bytes(whole)
    assert outcomes == ["error"] * FLIPS


def test_no_truncated_file_passes(cases: list[Case]) -> None:
    chance = random.Random(12)
    outcomes = []
    for case in cases:
        whole = case.path.read_bytes()
        lengths = [
            0,
            3,
            4,
            12,
            20,
            27,
            len(whole) - 1,
            len(whole) - 4,
            len(whole) - 8,
            *(chance.randrange(len(whole)) for _ in range(4)),
        ]
        for length in lengths:
            case.path.write_bytes(whole[:length])
            try:
                outcomes.append(outcome(case))
            finally:
                case.path.write_bytes(whole)
    assert set(outcomes) == {"error"}


@pytest.mark.parametrize("zeros", [range(512), range(4096), range(-512, 0), range(-4096, 0)], ids=str)
def test_no_lost_sector_passes(cases: list[Case], zeros: range) -> None:
    for case in cases:
        whole = case.path.read_bytes()
        damaged = bytearray(whole)
        for at in zeros:
            if -len(whole) <= at < len(whole):
                damaged[at] = 0
        case.path.write_bytes(damaged)
        try:
            assert outcome(case) == "error", case.name
        finally:
            case.path.write_bytes(whole)


@pytest.mark.parametrize(
    "zeros", [range(-512, 0), range(-256, 256), range(-48, 512), range(-16, 1), range(512)], ids=str
)
def test_no_lost_sector_at_the_footer_passes(cases: list[Case], zeros: range) -> None:
    for case in cases:
        whole = case.path.read_bytes()
        damaged = bytearray(whole)
        for at in zeros:
            if 0 <= footer_of(whole) + at < len(whole):
                damaged[footer_of(whole) + at] = 0
        case.path.write_bytes(damaged)
        try:
            assert outcome(case) == "error", case.name
        finally:
            case.path.write_bytes(whole)


def test_bytes_after_the_end_do_not_pass(cases: list[Case]) -> None:
    for case in cases:
        whole = case.path.read_bytes()
        for more in (b"\0", b"\0" * 4096, whole[-200:]):
            case.path.write_bytes(whole + more)
            try:
                assert outcome(case) == "error", case.name
            finally:
                case.path.write_bytes(whole)


def test_tables_without_checksums_are_read_as_they_are(cases: list[Case], tmp_path: Path) -> None:
    for case in cases:
        whole = case.path.read_bytes()
        try:
            pl.read_parquet(io.BytesIO(whole)).write_parquet(case.path)
            assert outcome(case) == "same"
            pq.write_table(pq.read_table(io.BytesIO(whole)), case.path)  # keeps the metadata of the file that it read
            assert outcome(case) == "same"
        finally:
            case.path.write_bytes(whole)


def test_damage_without_checksums_is_never_a_traceback(cases: list[Case]) -> None:
    chance = random.Random(13)
    for case in cases:
        whole = case.path.read_bytes()
        buffer = io.BytesIO()
        pl.read_parquet(io.BytesIO(whole)).write_parquet(buffer)
        old = buffer.getvalue()
        for _ in range(3):
            damaged = bytearray(old)
            for at in chance.sample(range(len(old)), 20):
                damaged[at] ^= 0xFF
            case.path.write_bytes(damaged[: chance.choice([len(old), len(old) // 2])])
            try:
                with contextlib.suppress(InvalidInput):
                    case.read(case.path)
            finally:
                case.path.write_bytes(whole)


def test_a_column_name_that_is_not_utf8_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"features": [1.0]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"features", b"\x99eatures"))
    message = r"rows\.parquet is not a readable Parquet file: .*make it again with: podpower join"
    with pytest.raises(InvalidInput, match=message), TableFile(path=path, command="podpower join").parquet() as file:
        list(file.schema_arrow.names)


def test_other_readers_read_the_files(cases: list[Case]) -> None:
    for path in {case.path for case in cases}:
        table = pl.read_parquet(path)
        assert_frame_equal(pl.from_arrow(pq.read_table(path, page_checksum_verification=True)), table)  # type: ignore[arg-type]
        assert pq.read_table(path).to_pandas().shape == table.shape


@pytest.mark.parametrize("name", ["features", "labels"])
def test_the_command_line_names_the_damaged_file(
    cases: list[Case], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = cases[0].path.parent
    path = folder / f"{name}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    try:
        files = ["--features", str(folder / "features.parquet"), "--labels", str(folder / "labels.parquet")]
        assert main(["join", *files, "--out", str(folder / "joined.parquet")]) == 1
    finally:
        path.write_bytes(whole)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"error: {path} is damaged: its end is missing" in printed
    assert "make it again with: podpower" in printed


def test_an_hour_of_a_simulated_recording_is_made_again_by_the_command_that_is_named(tmp_path: Path) -> None:
    root = tmp_path / "a recording"
    simulate(root, seed=5, start_s=START_S + 600, hours=1.5, workloads=3)
    parts = sorted(path for path in root.rglob("*.parquet") if path.parent.name == HOUR)
    before = {path: path.read_bytes() for path in parts}
    assert {path.parents[1].name for path in parts} == {SERIES, SAMPLES, TRUTH}
    for path in parts:
        path.write_bytes(before[path][:-1])
        if path.parents[1].name == SAMPLES:  # as when it was written minute by minute
            (path.parent / "59.parquet").write_bytes(b"")
    with pytest.raises(InvalidInput) as caught:
        Recording(root).metric_names(start_s=START_S, end_s=START_S + 3600)
    assert main(shlex.split(str(caught.value).partition("again with: podpower ")[2])) == 0
    assert {path: path.read_bytes() for path in root.rglob(f"*/{HOUR}/*.parquet")} == before


@pytest.mark.parametrize("hour", ["2026-01-01T08", "2026-01-01T11", "9"])
def test_an_hour_that_a_recording_does_not_have_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hour: str
) -> None:
    simulate(tmp_path / "r", seed=5, start_s=START_S, hours=1, workloads=1)
    assert main(["simulate", "--out", str(tmp_path / "r"), "--again", hour]) in {1, 2}
    assert hour in capsys.readouterr().err


def test_one_module_reads_and_writes_parquet() -> None:
    """So that no reader leaves out the verification, and no writer the checksums."""
    calls = {
        "read_parquet",
        "scan_parquet",
        "sink_parquet",
        "write_table",
        "ParquetFile",
        "ParquetWriter",
        "ParquetDataset",
    }
    root = Path(podpower.__file__).parents[1]
    found = set()
    for package in ("podpower", "podpower_assets", "podpower_serving"):
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            modules += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
            attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
            if (
                "pyarrow.parquet" in modules
                or attributes & calls
                or any(".write_parquet(" in ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Call))
            ):
                found.add(path.relative_to(root).as_posix())
    assert found == {Path(podpower.io.parquet.__file__).relative_to(root).as_posix()}


def test_a_verified_file_is_verified_again_once_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    write_parquet(pl.DataFrame({"a": range(1000)}), path)
    digests = []
    digest = podpower.io.parquet._digest
    monkeypatch.setattr(podpower.io.parquet, "_digest", lambda *a, **k: digests.append(1) or digest(*a, **k))
    file = TableFile(path=path, command="make it")
    for _ in range(3):
        file.read()
    assert len(digests) == 1
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="damaged"):
        file.read()
