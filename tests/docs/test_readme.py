"""The table and the comment of the README have the shape of what the commands print."""

import os
import re

import pytest

from scripts import readme


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Without a model: figures are estimates from resources, in the same shape."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PODPOWER_")}
    return clean | {"PODPOWER_HOME": str(tmp_path_factory.mktemp("home"))}


def test_the_table_has_the_columns_and_workloads_of_the_example(environment):
    shown = readme.TABLE.search(readme.README.read_text())[0]
    printed = readme.table(environment)
    head, of_command = (re.split(r"  +", text.splitlines()[0].strip()) for text in (shown, printed))
    assert [column for column in head if column != "J a job"] == of_command  # runs of Jobs were not measured here
    assert [line.split()[:2] for line in shown.splitlines()[2:-2]] == [
        line.split()[:2] for line in printed.splitlines()[2:-2]
    ]
    assert shown.splitlines()[-1].startswith("total ")


def test_the_comment_is_that_of_two_replicas_more(environment):
    shown = readme.COMMENT.search(readme.README.read_text())[0].splitlines()
    printed = readme.comment(environment).splitlines()
    assert len(shown) == len(printed)
    sentence = (
        r"> \*\*This change adds [\d.]+ k?Wh a month \(\+[\d.]+ EUR\): [\d.]+ k?Wh to [\d.]+ k?Wh, \+[\d.]+ %; 80 % "
    )
    for of in (shown, printed):
        assert of[0] == "> ### What this change draws"
        assert re.match(sentence, of[2])
    assert shown[4:6] == printed[4:6]
    row, of_command = (line.split("|") for line in (shown[6], printed[6]))
    assert (row[1:3], row[-2]) == (of_command[1:3], of_command[-2])
