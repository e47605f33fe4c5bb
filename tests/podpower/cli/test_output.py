import io
import time

from podpower.cli import output


def test_a_table_in_a_file_is_never_cut_and_names_are_not_markup():
    stream = io.StringIO()
    name = "[red]" + "x" * 150
    output.table(("name", "W"), [(name, "1")], right=("W",), total=("total", "1"), stream=stream)
    lines = stream.getvalue().splitlines()
    assert name in lines[2]
    assert lines[-1].split() == ["total", "1"]


def test_a_long_table_is_printed_as_a_short_one(monkeypatch):
    rows = [["a/检", "1 W", "seen"], ["b/[red]", "12 mW", ""], ["c/web", "-", "prior"]]

    def printed():
        stream = io.StringIO()
        output.table(["workload", "W", "basis"], rows, right=["W"], total=["total", "1 W", ""], stream=stream)
        return [line.rstrip() for line in stream.getvalue().splitlines()]

    laid_out = printed()
    monkeypatch.setattr(output, "_MOST_LAID_OUT", 2)
    monkeypatch.setattr(output, "_LINES", 2)
    assert printed() == laid_out


def test_a_table_of_many_rows_takes_little_time():
    began = time.process_time()
    stream = io.StringIO()
    rows = [[f"team/workload-{number}", "12 mW", "10 mW to 20 mW", "0.1", "1", "prior"] for number in range(20_000)]
    output.table(["workload", "W", "interval", "kWh", "pods", "basis"], rows, right=["W"], stream=stream)
    assert stream.getvalue().count("\n") == 20_002
    assert time.process_time() - began < 5  # rich takes a minute
