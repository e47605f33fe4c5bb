"""The packages that hints name are those of the extras in pyproject.toml."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from podpower import extras

DECLARED = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
TABLE = extras.OF_COMMANDS | extras.OF_CHOICES
IMPORTED_AS = {
    "sentence-transformers": {"sentence_transformers"},
    "gcsfs": {"gcsfs"},
    "adlfs": {"adlfs"},
}  # or installed
for package, distributions in packages_distributions().items():
    for name in distributions:
        IMPORTED_AS.setdefault(name.lower().replace("_", "-"), set()).add(package)


def distributions_of(extra: str) -> set[str]:
    found = [re.match(r"[a-z0-9-]+(?=\[(?P<nested>.*)\])?", line) for line in DECLARED[extra]]
    own = {one[0] for one in found if one and one[0] != "podpower"}
    nested = {part for one in found if one and one[0] == "podpower" for part in one["nested"].split(",")}
    return own.union(*map(distributions_of, nested))


@pytest.mark.parametrize("extra", TABLE)
def test_an_extra_installs_the_packages_that_name_it(extra: str) -> None:
    installed = set().union(*(IMPORTED_AS.get(one, ()) for one in distributions_of(extra)))
    assert set(TABLE[extra]) - {"psycopg2"} <= installed  # dagster-postgres brings that one


@pytest.mark.parametrize("extra", TABLE)
def test_every_package_of_an_extra_has_a_hint(extra: str) -> None:
    for distribution in distributions_of(extra):
        assert any(map(extras.extra_of, IMPORTED_AS[distribution])), distribution
