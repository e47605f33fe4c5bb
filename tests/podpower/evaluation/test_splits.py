import gc

from podpower.datasets.entries import Examples
from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.splits import unseen


def living():
    """All examples of this process."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Examples)]


def test_a_fold_holds_no_second_copy_of_all_examples(make_rows):
    training_set = TrainingSet.of(make_rows(workloads=3, hours=3))
    count, of_others = len(training_set.examples()), living()
    folds = unseen(training_set)
    training = next(folds).training
    held = [len(found) for found in living() if not any(found is one for one in of_others)]
    assert len(training) < count
    assert len(training) in held
    assert count not in held


def test_folds_leave_out_each_workload_once(make_rows):
    training_set = TrainingSet.of(make_rows(workloads=3, hours=3))
    count = len(training_set.examples())
    folds = list(unseen(training_set))
    assert [fold.of for fold in folds] == [3, 3, 3]
    assert [len(fold.training) for fold in folds] == [count - 3] * 3
    assert sorted(workload for fold in folds for workload in fold.pods.entries.workloads) == sorted(
        set(training_set.entries.workloads)
    )
