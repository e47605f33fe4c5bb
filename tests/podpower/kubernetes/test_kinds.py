"""The one table of kinds: what a row says, everything else follows."""

import doctest

import pytest

from podpower.kubernetes import controllers, kinds
from podpower.kubernetes.kinds import ENDLESS_KINDS, JOB_KINDS, KINDS, OBSERVED, REPLICATED_KINDS, TEMPLATE_HOLDERS


@pytest.mark.parametrize("module", [kinds, controllers])
def test_examples_of_the_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_groups_of_kinds() -> None:
    assert {"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "Rollout"} == REPLICATED_KINDS
    assert {"Job", "CronJob"} == JOB_KINDS
    assert REPLICATED_KINDS | {"DaemonSet"} == ENDLESS_KINDS
    assert {"ReplicaSet", "Job", "ReplicationController"} == TEMPLATE_HOLDERS
    assert {str(kind) for kind in OBSERVED} == set(KINDS) - {"Rollout", "ReplicationController"}


def test_names_in_a_row_are_rows() -> None:
    for kind in KINDS.values():
        assert set(kind.made_by) | {kind.same_as or "Pod"} <= set(KINDS)
