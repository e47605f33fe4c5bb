"""The HTML report and its pictures, from reports made here."""

import random
import re
from html.parser import HTMLParser

import msgspec
import pytest

from podpower.errors import Refused
from podpower.evaluation import plots
from podpower.evaluation.evaluate import EvaluationReport, evaluate
from podpower.evaluation.names import UNSEEN
from podpower.evaluation.pages import read_page, sealed_page
from podpower.evaluation.report import render
from podpower.evaluation.results import PodResult, SplitReport
from podpower.evaluation.scores import Score


def pod(name, measured, predicted, *, basis="similar", low=0.5, high=40.0, kind="Deployment"):
    return PodResult(
        namespace="shop",
        workload_kind=kind,
        workload_name=name,
        pod=f"{name}-0",
        image_key="nginx",
        basis=basis,
        measured=measured,
        predicted=predicted,
        low=low,
        high=high,
    )


def split(pods, name="unseen workloads"):
    score = Score(count=len(pods), wape=0.5, log_r2=-0.00001, mae=12.0, coverage=0.8)
    return SplitReport(
        name=name,
        folds=3,
        folds_in_all=3,
        nominal_coverage=0.8,
        scores={"podpower": score, "constant": Score(count=len(pods), wape=0.957)},
        by_basis={"similar": score},
        pods=pods,
    )


def report(*splits, notes=()):
    return EvaluationReport(target="energy_step_j", unit="J", step_seconds=60.0, splits=list(splits), notes=list(notes))


class Outline(HTMLParser):
    """Fails on unbalanced tags and gathers what a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.headings = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)
        self.fetched += [v for k, v in attributes if k in {"src", "href", "xlink:href"} and not v.startswith("#")]

    def handle_startendtag(self, tag, attributes):
        self.fetched += [v for k, v in attributes if k in {"src", "href", "xlink:href"} and not v.startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)


def test_a_report_stands_alone_and_shows_both_splits_beside_the_baselines():
    pods = [pod(f"w{i}", 2.0**i, 3.0**i) for i in range(-3, 6)]
    page = render(report(split(pods), split(pods, "time forward")))
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.fetched == []
    assert "script" not in page
    assert "Unseen workloads" in outline.headings
    assert "Time forward" in outline.headings
    assert page.count("<svg") == 6
    assert "0.957" in page


def test_names_from_clusters_are_text_and_not_markup():
    page = render(report(split([pod("<img src=x onerror=alert(1)>", 1.0, 2.0)]), notes=["<b>note</b>"]))
    assert "<img" not in page
    assert "&lt;b&gt;note" in page


def test_the_worst_pods_come_first():
    pods = [pod("right", 5.0, 5.0), pod("far", 100.0, 5.0), pod("near", 6.0, 5.0)]
    table = render(report(split(pods))).split("What adds most to the error")[1].split("Farthest outside")[0]
    assert re.findall(r"shop/(\w+)-0", table)[:3] == ["far", "near", "right"]


def test_of_a_workload_only_the_worst_pod_is_named():
    pods = [msgspec.structs.replace(pod("big", 900.0 + n, 5.0), pod=f"big-{n}") for n in range(20)]
    table = render(report(split([*pods, pod("small", 60.0, 5.0)]))).split("What adds most to the error")[1]
    assert table.split("Farthest outside")[0].count("shop/big-") == 1
    assert "shop/big-19" in table
    assert "shop/small-0" in table


def test_surprises_are_named_even_where_they_are_small():
    giant, tiny = pod("giant", 900.0, 700.0, low=300.0, high=2000.0), pod("tiny", 9.0, 0.01, low=0.001, high=0.1)
    page = render(report(split([giant, tiny])))
    surprises = page.split("Farthest outside their interval")[1]
    assert "shop/tiny-0" in surprises
    assert "shop/giant-0" not in surprises
    assert "Farthest outside" not in render(report(split([giant])))


def test_a_page_names_its_subject(rows):
    page = render(evaluate(rows, splits=(UNSEEN,)))
    assert f"{len(rows):,} labels of 40 workloads, 1970-01-01 00:10 to" in page


@pytest.mark.parametrize(
    "pods",
    [
        [pod("idle", 0.0, 0.0, low=0.0, high=0.0)],
        [pod("idle", 0.0, 3.0), pod("busy", 1e6, 1e-9)],
        [pod("job", 50.0, 40.0, low=None, high=None)],
        [pod(f"w{i}", 1.0 + i, 2.0 + i, basis=("seen", "similar", "prior")[i % 3]) for i in range(200)],
    ],
    ids=["all zero", "zeros and giants", "no intervals", "many"],
)
def test_pictures_are_drawn_for_any_pods(pods):
    page = render(report(split(pods)))
    assert page.count("<svg") == (3 if pods[0].low is not None else 2)


def test_pictures_are_the_same_every_time():
    held_out = split([pod("a", 1.0, 2.0), pod("b", 30.0, 20.0)])
    first, second = (plots.to_svg(plots.predicted_against_measured(held_out, unit="J")) for _ in range(2))
    assert first == second


def test_a_report_without_a_split_has_the_reason():
    page = render(report(notes=["unseen workloads: there is one workload only, hence none to leave out"]))
    assert "there is one workload only" in page
    assert msgspec.json.encode(report().to_dict())


def test_a_flipped_bit_in_a_page_is_an_error_with_its_name(tmp_path):
    page = sealed_page(render(report(split([pod("web", 1.0, 2.0)]))))
    path, draw = tmp_path / "2026-01-01.html", random.Random(14)
    path.write_bytes(page)
    assert read_page(path) == page
    tail = len(page) - 90  # the digest and what is around it
    for at in [*(draw.randrange(len(page) * 8) for _ in range(200)), *range(tail * 8, len(page) * 8)]:
        changed = bytearray(page)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(Refused, match=r"2026-01-01\.html is damaged"):
            read_page(path)


def test_a_page_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "old.html").write_bytes(b"<!doctype html>\n<html></html>\n")
    assert read_page(tmp_path / "old.html").startswith(b"<!doctype html>")


def test_joules_a_step_are_shown_in_watts():
    page = render(report(split([pod("web", 600.0, 300.0)])))
    table = page.split("What adds most to the error")[1]
    assert "measured, W" in table
    assert "<td>10</td><td>5</td>" in table
    assert "measured, J" not in page


def test_plots_name_the_workloads_that_are_far_off():
    pods = [pod("right", 5.0, 5.0), pod("far", 100.0, 5.0), pod("near", 6.0, 5.0)]
    pictures = [part.split("</svg>")[0] for part in render(report(split(pods))).split("<svg")[1:]]
    assert "shop/far" in pictures[0]
    assert "shop/near" not in pictures[0]
    assert all(f"shop/{name}" in pictures[2] for name in ("right", "far", "near"))  # below their intervals


def test_a_report_names_the_next_step_after_its_verdict():
    pods = [pod(f"w{i}", 2.0**i, 3.0**i) for i in range(-3, 6)]
    page = render(report(split(pods)))
    assert page.index("Verdict") < page.index("Next step:") < page.index("<table")
    assert "label more workloads" in page
