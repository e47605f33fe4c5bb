import pytest

from podpower.errors import InvalidInput
from podpower.fleet.budgets import ANNOTATION, annotated_budget, read_budgets


def test_budgets_are_read_by_namespace_and_by_cluster(tmp_path):
    path = tmp_path / "budgets.yaml"
    path.write_text("shop: 500\neu-2/shop: '250'\n")
    budgets = read_budgets(path)
    assert budgets.of("eu-1", "shop") == (500.0, "file")
    assert budgets.of("eu-2", "shop") == (250.0, "file")
    assert budgets.of("eu-2", "other") == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shop: lots", "the budget of shop must be watts"),
        ("shop: -1", "the budget of shop must be watts"),
        ("shop: .nan", "the budget of shop must be watts"),
        ("shop: true", "the budget of shop must be watts"),
        ("- shop", "must have lines such as"),
        ("shop: [", "is no YAML"),
    ],
)
def test_a_wrong_budget_is_named(tmp_path, text, message):
    path = tmp_path / "budgets.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_budgets(path)


def test_an_empty_file_has_no_budgets(tmp_path):
    (tmp_path / "budgets.yaml").write_text("")
    assert read_budgets(tmp_path / "budgets.yaml").of_file == {}


@pytest.mark.parametrize(
    ("annotations", "watts"), [({ANNOTATION: "250"}, 250.0), ({ANNOTATION: "x"}, None), ({}, None), (None, None)]
)
def test_a_namespace_is_annotated_with_its_budget(annotations, watts):
    assert annotated_budget({"kind": "Namespace", "metadata": {"annotations": annotations}}) == watts
