"""Entries left out are predicted from other workloads only."""

import numpy as np
import polars as pl
import pytest

from podpower.model.estimator import Estimator
from podpower.model.scale import from_log, to_log
from podpower.training.groups import linked_groups
from podpower.training.leave_out import new_workloads
from podpower.training.train import train


@pytest.fixture(scope="module")
def model(make_rows):
    """20 workloads of 1 W, but `w0` draws 1 kW with two specs whose vectors are equal."""
    rows = make_rows(workloads=20, watts=[1000.0] + [1.0] * 19)
    revision = rows.filter(pl.col("workload_name") == "w0").with_columns(_spec_hash=pl.lit("e" * 64))
    return train(pl.concat([rows, revision]))


def left_out_w(model, groups):
    """Watts that are predicted for the two specs of `w0`."""
    estimator = Estimator(model.index, metric=model.metric, neighbours=model.neighbours)
    left_out, _ = new_workloads(estimator, groups, np.full(len(model.index), to_log(np.array([1.0]))[0]), 1.0)
    return from_log(left_out.predicted)[np.array(model.index.names) == "w0"]


def test_no_revision_of_a_workload_predicts_another(model):
    watts = left_out_w(model, linked_groups(model.index.workloads, model.index.spec_hashes))
    assert len(watts) == 2
    assert (watts < 3.0).all()


def test_a_revision_in_a_group_of_its_own_is_predicted_from_the_other(model):
    assert (left_out_w(model, np.arange(len(model.index))) > 10.0).all()
