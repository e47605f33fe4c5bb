"""Units, scope, thresholds and formats of `podpower predict`, as a terminal and a pipeline meet them."""

import json
import os
import pty
import re
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest

from podpower.cli import main
from podpower.fleet.summary import write_summary
from podpower.registry.store import ModelStore
from tests.podpower.cli.shop import manifest
from tests.serving.fleets import summary_of, workload

LONG = "a-workload-whose-name-is-as-long-as-the-names-of-real-workloads-tend-to-be"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    path = tmp_path / "shop.yaml"
    path.write_text(f"{manifest('web', 'nginx:1.27')}---\n{manifest(LONG, 'postgres:16')}")
    return path


def run(capsys, *arguments):
    code = main(["predict", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_json_has_cost_carbon_and_their_inputs(shop, capsys):
    code, out, _ = run(capsys, "-f", shop, "--price", 0.3, "--currency", "usd", "--carbon", 380, "--format", "json")
    answer = json.loads(out)
    assert code == 0
    total = answer["total"]
    assert total["cost_month"] == pytest.approx(total["kwh_month"] * 0.3)
    assert total["co2e_kg_month"] == pytest.approx(total["kwh_month"] * 0.38)
    assert total["currency"] == "USD"
    assert answer["inputs"]["carbon_g_per_kwh"] == 380
    assert answer["inputs"]["embodied_emissions"] == "not included"


def test_the_table_shows_scope_price_carbon_and_that_embodied_emissions_are_not_in(shop, capsys):
    _, out, _ = run(capsys, shop, "--price", 0.3, "--carbon", 380, "--pue", 1.2)
    assert "cost/month" in out
    assert "CO2e/month" in out
    assert "scope: dynamic energy" in out
    assert "PUE 1.2 x 0.3 EUR/kWh" in out
    assert "380 g/kWh (given); embodied emissions are not included" in out
    _, out, _ = run(capsys, shop, "--scope", "total", "--idle-w-per-vcpu", 0.74)
    assert "scope: total energy" in out
    assert "0.74 W for each requested vCPU (given)" in out


def test_idle_watts_are_those_of_the_fleet_where_no_prometheus_is_known(shop, tmp_path, capsys):
    made = summary_of([workload("web", measured_w=1.0, predicted_w=1.0)])
    east = msgspec.structs.replace(made.clusters[0], idle_w_per_vcpu=0.5, idle_source="measured: 32 W idle")
    west = msgspec.structs.replace(made.clusters[0], cluster="west")
    store = ModelStore(tmp_path / "home" / "models").root
    write_summary(store, msgspec.structs.replace(made, clusters=[east, west]))
    code, out, _ = run(capsys, shop, "--scope", "total")
    assert code == 0
    assert "0.5 W for each requested vCPU (measured: 32 W idle; of the fleet summary)" in out
    assert run(capsys, shop, "--scope", "total", "--cluster", "west")[0] == 2
    assert "0.7 W for each requested vCPU (given)" in run(capsys, shop, "--scope", "total", "--idle-w-per-vcpu", 0.7)[1]


def test_the_total_scope_without_idle_watts_is_a_usage_error(shop, capsys):
    code, _, said = run(capsys, shop, "--scope", "total")
    assert code == 2
    assert "--idle-w-per-vcpu" in said


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--fail-above", "1MW"], 0),
        (["--fail-above", "1mW"], 3),
        (["--fail-above", "1Wh"], 3),
        (["--fail-above", "0.0001EUR", "--price", "0.3"], 3),
        (["--fail-above", "1MW", "--fail-above", "1mW"], 3),
        (["--fail-above", "50EUR"], 2),
        (["--fail-above", "50USD", "--price", "0.3"], 2),
        (["--fail-above", "lots"], 2),
    ],
)
def test_a_total_above_a_threshold_has_exit_code_3(options, code, shop, capsys):
    found, _, said = run(capsys, "-f", shop, *options)
    assert found == code
    assert ("above the threshold" in said) == (code == 3)


def test_errors_in_objects_win_over_a_threshold(shop, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(manifest("odd", "nginx", memory="1x"))
    assert run(capsys, "-f", shop, tmp_path / "bad.yaml", "--fail-above", "1mW")[0] == 1


def test_a_usage_file_counts_and_its_unused_entries_are_named(shop, tmp_path, capsys):
    usage = tmp_path / "usage.yaml"
    usage.write_text("shop/web: {replicas: 20}\nshop/wbe: {load: 2}\n")
    _, out, said = run(capsys, "-f", shop, "--usage", usage, "--format", "json")
    assert [one["replicas"] for one in json.loads(out)["predictions"]] == [20, 2]
    assert "match no workload: shop/wbe" in said


def test_where_a_workload_would_run_is_an_input(shop, capsys):
    _, out, _ = run(capsys, "-f", shop, "--node-type", "m6g.large", "--cluster", "east", "--format", "json")
    arm = json.loads(out)["predictions"][0]
    _, out, _ = run(capsys, "-f", shop, "--format", "json")
    unknown = json.loads(out)["predictions"][0]
    assert arm["cluster"] == "east"
    assert arm["pred_avg_power_w"] < unknown["pred_avg_power_w"]  # a busy vCPU of Graviton draws less


def on_a_terminal(*arguments, columns):
    """Run a command on a pseudo-terminal of that width; return what it shows."""
    main_end, end = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "podpower", *map(str, arguments)]
    with subprocess.Popen(command, stdout=end, stderr=subprocess.DEVNULL, env=environment, close_fds=True) as child:
        os.close(end)
        shown = b""
        while True:
            try:
                part = os.read(main_end, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        assert child.wait() == 0
    os.close(main_end)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def test_eighty_columns_never_break_a_name(shop):
    lines = on_a_terminal("predict", "-f", shop, columns=80).splitlines()
    assert f"shop/{LONG}" in lines
    figures = lines[: lines.index("total") + 2]
    assert all(len(line) <= 80 for line in figures)


def test_short_names_fit_eighty_columns_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    (tmp_path / "a.yaml").write_text(manifest("web", "nginx:1.27"))
    lines = on_a_terminal("predict", "-f", tmp_path / "a.yaml", columns=80).splitlines()
    assert lines[0].startswith("workload")
    assert lines[2].split()[:2] == ["shop/web", "Deployment"]
    assert all(len(line.rstrip()) <= 80 for line in lines[:5])


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_html_is_a_report_that_loads_nothing_and_runs_nothing(shop, capsys):
    text = shop.read_text().replace("name: web", 'name: "<script>alert(1)</script>"')
    shop.write_text(text)
    _, out, _ = run(capsys, "-f", shop, "--price", 0.3, "--format", "html")
    page = Page()
    page.feed(out)
    assert "2 workloads draw" in page.text
    assert "EUR" in page.text
    assert f"shop/{LONG}" in page.text
    assert "<script>alert(1)</script>" in page.text  # as text
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe"}
    assert not any("href" in attributes or "src" in attributes for _, attributes in page.tags)


def test_markdown_cannot_be_broken_out_of(shop, capsys):
    shop.write_text(shop.read_text().replace("name: web", 'name: "x`|<b>@all"'))
    _, out, _ = run(capsys, "-f", shop, "--format", "markdown")
    row = next(line for line in out.splitlines() if "<b>" in line)
    assert row.startswith("| `shop/x'\\|<b>@all` |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 8  # the cells of the table and no more


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "markdown", "html"])
def test_every_format_has_the_inputs_and_names_what_is_not_in_it(form, shop, capsys):
    """CSV has them on standard error: rows alone are on standard output."""
    _, out, said = run(capsys, "-f", shop, "--price", 0.25, "--carbon", 380, "--pue", 1.4, "--format", form)
    given, other = (said, out) if form == "csv" else (out, said)
    assert all(word in given for word in ("1.4", "0.25", "380", "not included"))
    assert "not included" not in other


@pytest.mark.parametrize("command", [["top"], ["diff", "/dev/null", "shop.yaml"]], ids=lambda words: words[0])
def test_csv_of_other_commands_has_its_inputs_on_standard_error(command, shop, monkeypatch, capsys):
    monkeypatch.chdir(shop.parent)
    store = ModelStore(shop.parent / "home" / "models")
    write_summary(store.root, summary_of([workload("web", measured_w=5.0, predicted_w=4.0)]))
    assert main([*command, "--price", "0.25", "--carbon", "380", "--pue", "1.4", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert all(word in printed.err for word in ("PUE 1.4", "0.25 EUR/kWh", "380 g/kWh", "not included"))
    assert "PUE" not in printed.out


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "markdown", "html"])
def test_no_format_prints_control_characters_of_a_manifest(form, shop, capsys):
    hostile = 'name: "we\\e[31mb\\u009b31m\\u202e"'
    shop.write_text(shop.read_text().replace("name: web", hostile))
    _, out, said = run(capsys, "-f", shop, "--format", form)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out + said)
    if form == "json":
        assert json.loads(out)["predictions"][0]["workload_name"] == "we\x1b[31mb\x9b31m\u202e"


def test_half_of_a_surrogate_pair_in_a_usage_file_is_an_error_of_the_file(shop, tmp_path, capsys):
    usage = tmp_path / "usage.yaml"
    usage.write_text('{"shop/web": {"load": "\\ud800"}}')
    code, _, said = run(capsys, "-f", shop, "--usage", usage)
    assert code == 1
    assert said.startswith(f"error: {usage}: shop/web: ")
