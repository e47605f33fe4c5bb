import polars as pl
import pytest

from podpower.fleet import folding, summary
from podpower.fleet.budgets import Budgets
from podpower.fleet.folding import ClusterState, fold
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.summary import Gap, ModelStatus
from podpower.fleet.top import live_rows, rows_of

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S


@pytest.fixture
def hours(specs_of, labels_of, predictor):
    """Hours of clusters: for each a list of watts of `web`, an hour each; None: no meter in this hour."""

    def make(*, gaps=(), **clusters):
        tables = []
        for hour in range(max(len(watts) for watts in clusters.values())):
            start_s = START_S + hour * HOUR_S
            parts = []
            for name, watts in clusters.items():
                if hour >= len(watts):
                    continue
                labels = labels_of("web", [] if watts[hour] is None else [watts[hour]] * 60, start_s=start_s)
                specs = specs_of({"web": [("web-0", 0.0, None)], "db": [("db-0", 0.0, None)]}, cluster=name)
                parts.append(
                    ClusterHour(
                        cluster=name, specs=specs, labels=labels.lazy(), gaps=gaps, journal_reached_s=start_s + HOUR_S
                    )
                )
            tables.append(hour_table(parts, predictor, start_s=start_s, now_s=START_S + 9999 * HOUR_S))
        return tables

    return make


def workload(found, name, cluster="a"):
    return next(w for w in found.workloads if (w.cluster, w.workload_name) == (cluster, name))


def test_hours_add_up_to_energy_series_and_current_watts(hours):
    found = fold(hours(a=[2.0, 4.0, 6.0]), now_s=START_S + 3 * HOUR_S)
    web = workload(found, "web")
    assert (web.measured_w, web.kwh, web.measured_hours) == (6.0, pytest.approx(0.012), 3)
    assert web.series.measured_w == [2.0, 4.0, 6.0]
    assert web.series.start_s == found.start_s == START_S
    assert web.predicted_interval.avg_power_w[0] <= web.predicted_w <= web.predicted_interval.avg_power_w[1]
    db = workload(found, "db")
    assert (db.measured_w, db.kwh, db.measured_hours) == (None, None, 0)
    assert db.series.measured_w == [None] * 3
    [shop] = found.namespaces
    assert (shop.measured_w, shop.workloads, shop.bases, shop.pods) == (6.0, 2, {"prior": 2}, 2.0)
    assert shop.predicted_w == pytest.approx(web.predicted_w + db.predicted_w, rel=1e-3)
    assert found.other_workloads.count == found.other_namespaces.count == 0
    assert found.other_workloads.series.measured_w == [0.0] * 3


def test_hours_without_a_workload_count_from_its_first_one_on(specs_of, labels_of, predictor):
    """The month of a CronJob that runs one hour a day was 24 times what it draws."""
    tables = []
    for hour in range(24):
        start_s = START_S + hour * HOUR_S
        watts = {"web": 2.0} | ({"batch": 3.0} if hour == 4 else {})
        labels = pl.concat([labels_of(name, [power_w] * 60, start_s=start_s) for name, power_w in watts.items()])
        specs = specs_of({name: [(f"{name}-0", start_s - START_S, None)] for name in watts})
        one = ClusterHour(cluster="a", specs=specs, labels=labels.lazy())
        tables.append(hour_table([one], predictor, start_s=start_s, now_s=start_s + HOUR_S))
    found = fold(tables, now_s=0.0)
    batch = workload(found, "batch")
    assert (batch.kwh, batch.measured_hours, workload(found, "web").measured_hours) == (pytest.approx(0.003), 20, 24)
    assert {row.workload_name: row.kwh_month for row in rows_of(found, by="workload")} == {
        "web": pytest.approx(2.0 * 0.73), "batch": pytest.approx(3.0 * 0.73 / 20),
    }  # fmt: skip


def test_hours_of_which_a_part_was_measured_count_for_that_part(specs_of, labels_of, predictor):
    """The running hour, and one with an outage: watts times measured hours are the energy, so that a month is right."""
    tables = []
    for hour, minutes in enumerate((60, 30, 15)):
        start_s = START_S + hour * HOUR_S
        labels = labels_of("web", [2.0] * minutes, start_s=start_s).lazy()
        one = ClusterHour(cluster="a", specs=specs_of({"web": [("web-0", 0.0, None)]}), labels=labels)
        tables.append(hour_table([one], predictor, start_s=start_s, now_s=START_S + 2.25 * HOUR_S))
    found = fold(tables, now_s=START_S + 2.25 * HOUR_S)
    for one in (workload(found, "web"), *found.namespaces, *found.clusters):
        assert one.measured_hours == pytest.approx(1.75)
        assert one.kwh == pytest.approx(2.0 * 1.75 / 1000.0, rel=1e-3)
    assert [row.kwh_month for row in rows_of(found, by="workload")] == [pytest.approx(2.0 * 0.73, rel=1e-3)]


def test_a_workload_that_idles_at_zero_watts_is_measured(specs_of, labels_of, predictor):
    labels = pl.concat([labels_of("web", [2.0] * 60), labels_of("db", [0.0] * 60)]).lazy()
    one = ClusterHour(
        cluster="a", specs=specs_of({"web": [("web-0", 0.0, None)], "db": [("db-0", 0.0, None)]}), labels=labels
    )
    found = fold([hour_table([one], predictor, start_s=START_S, now_s=START_S + HOUR_S)], now_s=START_S + HOUR_S)
    db = workload(found, "db")
    assert (db.measured_w, db.kwh, db.measured_hours) == (0.0, 0.0, 1.0)


def test_the_order_of_the_hours_does_not_matter(hours):
    tables = hours(a=[2.0, 4.0], b=[1.0])
    assert fold(tables, now_s=0.0) == fold(tables[::-1], now_s=0.0)


def test_a_late_hour_changes_its_own_place_only(hours):
    early, late, last = hours(a=[2.0, 4.0, 6.0])
    before, after = fold([early, last], now_s=0.0), fold([early, last, late], now_s=0.0)
    assert workload(before, "web").series.measured_w == [2.0, None, 6.0]
    assert workload(after, "web").series.measured_w == [2.0, 4.0, 6.0]
    assert workload(before, "web").measured_w == workload(after, "web").measured_w == 6.0


def test_hours_before_the_last_thirty_days_are_left_out(hours):
    old, new = hours(a=[2.0, 4.0])
    aged = old.with_columns(hour_s=pl.col("hour_s") - 31 * 24 * HOUR_S)
    assert fold([aged, new], now_s=0.0) == fold([new], now_s=0.0)


def test_clusters_are_kept_apart(hours):
    found = fold(hours(a=[2.0], b=[5.0]), now_s=0.0)
    assert [(c.cluster, c.measured_w) for c in found.clusters] == [("a", 2.0), ("b", 5.0)]
    assert (workload(found, "web", "a").measured_w, workload(found, "web", "b").measured_w) == (2.0, 5.0)


def test_what_is_beyond_the_bounds_is_added_up_and_counted(hours, monkeypatch):
    monkeypatch.setattr(folding, "MOST_WORKLOADS", 1)
    monkeypatch.setattr(folding, "MOST_WORKLOAD_SERIES", 0)
    found = fold(hours(a=[2.0], b=[50.0]), now_s=0.0)
    [listed] = found.workloads
    assert (listed.cluster, listed.workload_name, listed.series) == ("b", "web", None)
    others = found.other_workloads
    assert (others.count, others.measured_w, others.series.measured_w) == (3, 2.0, [2.0])
    whole = sum(cluster.predicted_w for cluster in found.clusters)
    assert others.predicted_w == pytest.approx(whole - listed.predicted_w, rel=1e-2)


def test_current_watts_are_those_of_the_last_labelled_hour_unless_it_is_too_old(hours, specs_of, predictor):
    tables = hours(a=[2.0])

    def later(count):
        one = ClusterHour(cluster="a", specs=specs_of({"web": [("web-0", 0.0, None)]}))
        start_s = START_S + count * HOUR_S
        return hour_table([one], predictor, start_s=start_s, now_s=start_s + HOUR_S)

    assert fold([*tables, later(1)], now_s=0.0).clusters[0].measured_w == 2.0
    old = fold([*tables, later(5)], now_s=0.0).clusters[0]
    assert (old.measured_w, old.hour_s) == (None, START_S + 5 * HOUR_S)
    assert old.predicted_w is not None


def test_a_cluster_that_is_no_longer_configured_keeps_its_energy_and_draws_nothing_now(hours):
    """Its last hour stays in the summary for 30 days; renamed, its workloads counted twice in all current sums."""
    found = fold(hours(renamed=[2.0] * 9, old=[2.0] * 2), now_s=0.0)
    old, renamed = sorted(found.clusters, key=lambda cluster: cluster.cluster)
    assert (old.measured_w, old.predicted_w, old.hour_s, old.pods, old.workloads) == (None, None, None, 0.0, 0)
    assert old.kwh == pytest.approx(0.004)
    assert "no longer among the configured clusters" in old.notes[0]
    assert (renamed.measured_w, renamed.workloads) == (2.0, 2)
    assert [(w.cluster, w.measured_w) for w in found.workloads if w.workload_name == "web"] == [
        ("renamed", 2.0), ("old", None),
    ]  # fmt: skip
    assert found.other_workloads.count == 0


def test_a_renamed_cluster_counts_once_from_the_first_hour_on(hours):
    """For four hours it counted under both names."""
    tables = [*hours(old=[2.0]), *(part.with_columns(hour_s=START_S + HOUR_S) for part in hours(new=[2.0]))]
    new, old = fold(tables, now_s=0.0, states={"new": ClusterState()}).clusters
    assert (new.measured_w, new.configured, old.measured_w, old.configured) == (2.0, True, None, False)
    assert old.kwh == pytest.approx(0.002)
    summary = fold(tables, now_s=0.0, states={"new": ClusterState()})
    assert {row.cluster for by in ("workload", "namespace") for row in rows_of(summary, by=by)} == {"new"}
    measured = {("shop", "Deployment", "web"): (2.0, 1)}
    [row] = live_rows(measured, summary, by="workload", cluster=None)
    assert (row.cluster, row.predicted_w is None) == ("new", False)


def test_a_configured_cluster_without_tables_for_hours_is_still_one(hours):
    """One whose credentials had expired four hours ago was shown as no longer configured."""
    states = {"a": ClusterState(), "b": ClusterState(last_error="PROM_TOKEN is not set")}
    [b] = [one for one in fold(hours(a=[2.0] * 9, b=[2.0] * 2), now_s=0.0, states=states).clusters if one.last_error]
    assert (b.cluster, b.measured_w, b.configured, b.notes) == ("b", None, True, [])


def test_a_cluster_without_a_meter_names_the_clusters_it_is_predicted_from(hours):
    model = ModelStatus(
        version="v1", trained_at="", promoted_at=None, labels_end_s=0.0, pinned=False, clusters=["a"], evaluation=[],
        alarms=[],
    )  # fmt: skip
    a, b = fold(hours(a=[2.0], b=[None]), now_s=0.0, model=model).clusters
    assert (a.metered, a.notes) == (True, [])
    assert (b.metered, b.measured_w) == (False, None)
    assert b.notes == [
        "no meter in cluster b that the model learned from: predicted from a, node types and the physical estimate"
    ]


def test_parts_of_one_gap_are_one_gap(hours):
    gaps = [Gap(start_s=START_S + 10, end_s=START_S + 4000, reason="410 Gone")]
    of_another_stream = Gap(start_s=START_S + 12, end_s=START_S + 3990, reason="410 Gone")
    more = [*gaps, of_another_stream, Gap(start_s=START_S + 5000, end_s=START_S + 5010, reason="restart")]
    [cluster] = fold([*hours(a=[1.0], gaps=gaps), *hours(a=[1.0], gaps=more)], now_s=0.0).clusters
    assert [(g.start_s - START_S, g.end_s - START_S) for g in cluster.gaps] == [(10, 4000), (5000, 5010)]
    assert cluster.gap_count == 2


def test_a_cluster_of_which_nothing_was_made_is_listed_with_its_error(hours):
    states = {"b": ClusterState(last_error="Prometheus does not answer", journal_reached_s=7.0, idle=(0.5, "measured"))}
    a, b = fold(hours(a=[2.0]), now_s=0.0, states=states).clusters
    assert (b.cluster, b.last_error, b.journal_reached_s, b.measured_w) == (
        "b", "Prometheus does not answer", 7.0, None,
    )  # fmt: skip
    assert (b.idle_w_per_vcpu, b.idle_source, a.idle_w_per_vcpu) == (0.5, "measured", None)
    assert (a.journal_reached_s, a.last_label_s) == (START_S + HOUR_S, START_S + HOUR_S)


def test_budgets_come_from_the_file_before_the_annotation(hours):
    tables = [t.with_columns(budget_w=pl.when(pl.col("level") == "namespace").then(7.0)) for t in hours(a=[1.0])]
    [shop] = fold(tables, now_s=0.0).namespaces
    assert (shop.budget_w, shop.budget_source) == (7.0, "annotation")
    [shop] = fold(tables, now_s=0.0, budgets=Budgets({"shop": 5.0, "a/shop": 6.0})).namespaces
    assert (shop.budget_w, shop.budget_source) == (6.0, "file")


def test_nothing_gives_nothing(hours):
    assert fold([], now_s=0.0) is None
    assert fold([hours(a=[1.0])[0].clear()], now_s=0.0) is None


def test_thirty_days_of_the_largest_fleet_stay_below_the_bound_of_the_file(hours, tmp_path):
    [first] = hours(a=[2.0])
    kinds = {"level": "workload", "workload_kind": "Deployment"}
    base = first.filter((pl.col("level") == "workload") & (pl.col("workload_name") == "web"))
    long = "n" * 200
    many = pl.concat(
        base.with_columns(
            pl.lit(1.234567e-3 * (1 + i)).alias("measured_w"), pl.lit(f"{long}{i}").alias("workload_name"),
            pl.lit(f"{long}{i}").alias("namespace"), *(pl.lit(v).alias(k) for k, v in kinds.items()),
        )
        for i in range(600)
    )  # fmt: skip
    spaces = many.with_columns(level=pl.lit("namespace"), workload_kind=None, workload_name=None)
    whole = pl.concat([first.filter(pl.col("level") == "cluster"), many, spaces.select(many.columns)])
    largest = whole.filter(pl.col("measured_w") > 1.234567e-3 * 490)
    tables = [largest.with_columns(hour_s=START_S + hour * HOUR_S, energy_j=1e6) for hour in range(24 * 30 - 1)]
    found = fold([*tables, whole.with_columns(hour_s=START_S + 719 * HOUR_S)], now_s=0.0)
    assert len(found.workloads) == summary.MOST_WORKLOADS
    assert sum(None not in w.series.measured_w for w in found.workloads if w.series) == summary.MOST_WORKLOAD_SERIES
    assert sum(None not in n.series.measured_w for n in found.namespaces if n.series) == summary.MOST_NAMESPACE_SERIES
    assert summary.write_summary(tmp_path, found) < summary.MAX_BYTES
    assert found.other_namespaces.count == 100
