import numpy as np
import polars as pl
import pytest

from podpower.fleet.hours import CLUSTER, MOST_ROWS, NAMESPACE, WORKLOAD, ClusterHour, hour_table
from podpower.fleet.summary import Gap
from podpower.labels.table import JOBS_SCHEMA, in_jobs_schema
from podpower.specs.table import requests_of

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S
LATER_S = START_S + 10 * HOUR_S


def one(table, level=CLUSTER, **names):
    chosen = table.filter(pl.col("level") == level)
    for name, value in names.items():
        chosen = chosen.filter(pl.col(name) == value)
    return chosen.row(0, named=True)


def made(predictor=None, *, now_s=LATER_S, **fields):
    return hour_table([ClusterHour(cluster="a", **fields)], predictor, start_s=START_S, now_s=now_s)


def test_measured_watts_are_those_of_the_labels_and_add_up(labels_of):
    labels = pl.concat(
        [labels_of("web", [2.0] * 60), labels_of("web", [4.0] * 60, pod="web-1"), labels_of("db", [1.0] * 60)]
    )
    table = made(labels=labels.lazy())
    assert one(table, WORKLOAD, workload_name="web")["measured_w"] == pytest.approx(6.0)
    assert one(table, NAMESPACE, namespace="shop")["energy_j"] == pytest.approx(7.0 * HOUR_S)
    whole = one(table)
    assert (whole["measured_w"], whole["measured_share"]) == (pytest.approx(7.0), pytest.approx(1.0))
    assert (whole["metered"], whole["last_label_s"]) == (True, START_S + HOUR_S)


def test_the_sums_do_not_depend_on_the_order_in_which_threads_add(labels_of):
    rng = np.random.default_rng(1)
    labels = pl.concat(labels_of(f"w{pod % 3}", rng.lognormal(0, 2, 60).tolist(), pod=f"p{pod}") for pod in range(30))
    first, *others = (made(labels=labels.sample(fraction=1, shuffle=True, seed=n).lazy()) for n in range(5))
    assert all(other.equals(first) for other in others)


def test_a_past_hour_made_again_later_is_the_same(specs_of):
    specs = specs_of({"web": [("web-0", 0, None)]})
    first, again = (made(specs=specs, journal_reached_s=LATER_S + s, now_s=LATER_S + s) for s in (0, 5_000))
    assert again.equals(first)
    assert one(again)["journal_reached_s"] == START_S + HOUR_S


def test_unknown_steps_of_a_living_pod_count_with_its_mean_power(labels_of):
    table = made(labels=pl.concat([labels_of("web", [2.0] * 30 + [None] * 30), labels_of("db", [1.0] * 60)]).lazy())
    web = one(table, WORKLOAD, workload_name="web")
    assert (web["measured_w"], web["measured_share"]) == (pytest.approx(2.0), pytest.approx(0.5))


@pytest.mark.parametrize("reason", ["first_step", "last_step", "short_lived"])
def test_a_pod_counts_only_while_it_lives(labels_of, reason):
    labels = pl.concat([labels_of("web", [6.0], known_s=30.0, reason=reason), labels_of("db", [1.0] * 60)])
    web = one(made(labels=labels.lazy()), WORKLOAD, workload_name="web")
    assert (web["energy_j"], web["measured_share"]) == (pytest.approx(180.0), 1.0)


def test_an_outage_of_half_an_hour_is_no_saving(labels_of):
    whole = one(made(labels=labels_of("web", [2.0] * 30).lazy()))  # no series at all in the second half
    assert whole["measured_w"] == pytest.approx(2.0)


def test_zeros_throughout_are_no_measurement(labels_of):
    whole = one(made(labels=labels_of("web", [0.0] * 60).lazy()))
    assert (whole["metered"], whole["measured_w"], whole["energy_j"], whole["last_label_s"]) == (False, *[None] * 3)


def test_an_hour_of_unknown_steps_leaves_open_whether_there_is_a_meter(labels_of):
    assert one(made(labels=labels_of("web", [None] * 60).lazy()))["metered"] is None


def test_labels_that_no_node_can_draw_do_not_count(labels_of):
    labels = pl.concat([labels_of("web", [2.0] * 59 + [9.2e14]), labels_of("db", [1.0] * 60)])
    assert one(made(labels=labels.lazy()))["measured_w"] == pytest.approx(3.0)


def test_a_short_pod_that_no_step_knows_counts_with_its_whole_run(labels_of):
    labels = pl.concat([labels_of("batch", [None], reason="short_lived"), labels_of("db", [1.0] * 60)])
    run = {"namespace": "shop", "workload_kind": "Deployment", "workload_name": "batch", "pod": "batch-0"}
    jobs = in_jobs_schema(
        pl.DataFrame(
            [run | {"start_s": START_S + 5, "duration_s": 20.0, "total_energy_j": 300.0, "known_share": 0.5}],
            schema_overrides=dict(JOBS_SCHEMA.items()) | {"start_s": pl.Float64},
        )
    )
    batch = one(made(labels=labels.lazy(), jobs=jobs.lazy()), WORKLOAD, workload_name="batch")
    assert (batch["energy_j"], batch["measured_share"]) == (pytest.approx(300.0), pytest.approx(0.5))


def test_a_prediction_counts_the_pods_that_ran_on_average(specs_of, predictor):
    always, half = [("web-0", -50.0, None), ("web-1", 0.0, 1800.0)], [("db-0", 1800.0, None)]
    table = made(predictor, specs=specs_of({"web": always, "db": half, "idle": []}))
    web, db = (one(table, WORKLOAD, workload_name=name) for name in ("web", "db"))
    assert (web["pods"], db["pods"]) == (pytest.approx(1.5), pytest.approx(0.5))
    pod_w = predictor.predict([_request(specs_of)])[0].expected_avg_power_w
    assert web["predicted_w"] == pytest.approx(1.5 * pod_w)
    assert web["low_w"] <= web["predicted_w"] <= web["high_w"]
    assert (web["basis"], web["model_version"]) == ("prior", "v1")
    whole = one(table)
    assert whole["predicted_w"] == pytest.approx(web["predicted_w"] + db["predicted_w"])
    assert whole["low_w"] <= whole["predicted_w"] <= whole["high_w"]
    assert whole["bases"] == [{"basis": "prior", "workloads": 2}]
    assert "idle" not in table["workload_name"].to_list()


def test_a_static_pod_is_measured_and_predicted_under_one_name(specs_of, labels_of, predictor):
    specs = pl.concat(
        [
            specs_of({"node-1": [(pod, -50.0, None)]}, kind="Node", namespace=f"of-{pod}")
            for pod in ("etcd-node-1", "kube-apiserver-node-1")
        ]
    ).with_columns(namespace=pl.lit("kube-system"))
    labels = labels_of("node-1", [2.0] * 60, pod="etcd-node-1", namespace="kube-system")
    table = made(predictor, specs=specs, labels=labels.with_columns(workload_kind=pl.lit("Node")).lazy())
    etcd = one(table, WORKLOAD, workload_kind="Pod", workload_name="etcd-node-1")
    assert etcd["measured_w"] == pytest.approx(2.0)
    assert etcd["predicted_w"] > 0
    assert one(table, WORKLOAD, workload_name="kube-apiserver-node-1")["measured_w"] is None
    assert "node-1" not in table["workload_name"].to_list()


def _request(specs_of):
    return requests_of(specs_of({"web": []}))[0]


def test_of_the_running_hour_the_measured_part_is_predicted(specs_of, labels_of, predictor):
    specs, labels = specs_of({"web": [("web-0", 0.0, None)]}), labels_of("web", [2.0] * 10).lazy()
    table = made(predictor, specs=specs, labels=labels, now_s=START_S + 900.0)
    web = one(table, WORKLOAD, workload_name="web")
    assert (web["pods"], web["measured_w"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert web["predicted_j"] == pytest.approx(web["predicted_w"] * 600.0)


def test_without_a_model_nothing_is_predicted_and_nothing_is_zero(specs_of):
    whole = one(made(specs=specs_of({"web": [("web-0", 0.0, None)]})))
    assert (whole["pods"], whole["predicted_w"], whole["low_w"], whole["model_version"]) == (1.0, *[None] * 3)


def test_budgets_and_gaps_are_kept(specs_of):
    gap = Gap(start_s=START_S, end_s=START_S + 60, reason="410 Gone")
    table = made(specs=specs_of({"web": [("p", 0.0, None)]}), budgets_w={"shop": 5.0, "other": 1.0}, gaps=[gap])
    assert one(table, NAMESPACE)["budget_w"] == 5.0
    assert one(table)["gaps"] == [{"start_s": START_S, "end_s": START_S + 60, "reason": "410 Gone"}]


def test_an_hour_stays_small_whatever_runs_in_it(specs_of, predictor):
    many = {f"w{i}": [(f"w{i}-0", 0.0, None)] for i in range(MOST_ROWS + 50)}
    table = made(predictor, specs=specs_of(many))
    assert (table["level"] == WORKLOAD).sum() == MOST_ROWS
    assert one(table)["workloads"] == MOST_ROWS + 50
    assert one(table)["predicted_w"] == pytest.approx(one(table, NAMESPACE)["predicted_w"])


def test_a_cluster_that_is_never_labelled_has_no_meter(specs_of, predictor):
    whole = one(made(predictor, specs=specs_of({"web": [("web-0", 0.0, None)]}), has_meter=False))
    assert (whole["metered"], whole["measured_w"], whole["pods"]) == (False, None, 1.0)
    assert whole["predicted_w"] > 0


def test_a_cluster_without_tables_has_no_row(specs_of):
    table = hour_table(
        [ClusterHour(cluster="a"), ClusterHour(cluster="b", specs=specs_of({}))], None, start_s=START_S, now_s=LATER_S
    )
    assert table["cluster"].to_list() == ["b"]
