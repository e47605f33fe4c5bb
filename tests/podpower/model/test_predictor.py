import math

import msgspec
import pytest

from podpower.errors import Refused
from podpower.model.predictor import Predictor
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import Container, InferenceRequest


@pytest.fixture(scope="module")
def predictor(pair):
    return Predictor(*pair, version="v")


def request(kind="Deployment", **fields):
    return InferenceRequest(workload_kind=kind, workload_name="w", containers=[Container(image="redis:7")], **fields)


def test_a_seen_spec_gets_its_own_power(predictor, known_requests):
    for i, prediction in enumerate(predictor.predict(known_requests)):
        assert prediction.basis == "seen"
        assert prediction.pred_avg_power_w == pytest.approx(i + 1)
        assert prediction.pred_energy_step_j == pytest.approx((i + 1) * 60)
        assert prediction.spec_hash == spec_hash(known_requests[i])
        assert (prediction.step_seconds, prediction.model_version) == (60.0, "v")


def test_every_prediction_names_the_source_of_the_labels(pair, known_requests):
    encoder, model = pair
    state = model.state() | {"label_source": "Kepler 0.9 all components, dynamic"}
    predictor = Predictor(encoder, type(model).from_state(state), version="v")
    for found in (predictor.predict(known_requests[:1]), predictor.explain([request()])):
        assert found[0].label_source == "Kepler 0.9 all components, dynamic"
    del state["label_source"]  # as of models from before
    assert type(model).from_state(state).label_source is None


def test_the_evidence_names_whose_labels_they_are(predictor, known_requests):
    own = known_requests[0]
    elsewhere = msgspec.structs.replace(own, namespace="other")
    assert predictor.predict([own])[0].evidence.startswith("its own labels, as ")
    abroad = msgspec.structs.replace(own, cluster="another")
    assert predictor.predict([elsewhere])[0].evidence.startswith("labels of the same spec, as ")
    assert predictor.predict([abroad])[0].evidence.endswith(" of cluster c")


def test_the_interval_holds_the_prediction(predictor, known_requests):
    for prediction in predictor.predict([*known_requests, request()]):
        low, high = prediction.interval.avg_power_w
        assert 0 <= low <= prediction.pred_avg_power_w <= high
        assert prediction.interval.energy_step_j == pytest.approx((low * 60, high * 60))


def test_a_prediction_does_not_depend_on_its_batch(predictor, known_requests):
    assert predictor.predict(known_requests)[5] == predictor.predict([known_requests[5]])[0]


def test_nothing_gives_nothing(predictor):
    assert predictor.predict([]) == []
    assert predictor.total([]).total_avg_power_w == 0.0


def test_what_runs_without_end_has_no_total_energy(predictor):
    assert predictor.predict([request()])[0].pred_total_energy_j is None


def test_totals_multiply_by_replicas(predictor):
    prediction = predictor.predict([request(replicas=3)])[0]
    assert prediction.replicas == 3
    assert prediction.total_avg_power_w == pytest.approx(3 * prediction.expected_avg_power_w)


def test_the_total_counts_what_is_unknown(predictor):
    predictions = predictor.predict([request(replicas=2), request("Job"), request("CronJob")])
    total = predictor.total(predictions)
    known_w = math.fsum(p.total_avg_power_w for p in predictions[:2])
    assert total.total_avg_power_w == pytest.approx(known_w)
    assert total.kwh_month == pytest.approx(predictions[0].total_avg_power_w * 0.73)
    assert (total.workloads, total.replicas) == (3, 4)
    assert (total.total_energy_j, total.unknown_total_energy) == (None, 2)
    assert (total.unknown_power, total.unknown_kwh_month) == (1, 2)  # the CronJob; both jobs


def test_a_total_of_which_nothing_is_known_is_null_and_not_zero(predictor):
    total = predictor.total(predictor.predict([request("CronJob")]))
    assert (total.total_avg_power_w, total.kwh_month, total.unknown_power) == (None, None, 1)


def test_an_explanation_adds_up(predictor, known_requests):
    seen, unseen = predictor.explain([known_requests[0], request()])
    assert [neighbour.workload_name for neighbour in seen.neighbours] == ["w0"]
    assert (seen.neighbours[0].distance, seen.neighbours[0].weight) == (0.0, 1.0)
    assert sum(n.weight for n in unseen.neighbours) + unseen.other_weight == pytest.approx(1.0)
    assert sorted(n.distance for n in unseen.neighbours) == [n.distance for n in unseen.neighbours]
    assert all(neighbour.total_energy_j is None for neighbour in unseen.neighbours)


def test_an_explanation_is_the_prediction_and_more(predictor, known_requests):
    prediction = msgspec.to_builtins(predictor.predict(known_requests[:1])[0])
    explanation = msgspec.to_builtins(predictor.explain(known_requests[:1])[0])
    assert prediction.items() <= explanation.items()


def test_a_model_of_another_encoder_is_refused(make_pair, pair):
    with pytest.raises(Refused, match="trained with encoder"):
        Predictor(make_pair(text="none")[0], pair[1], version="v")


def test_a_cluster_without_labels_is_predicted_from_the_others_with_a_note(predictor, known_requests):
    own, abroad = (msgspec.structs.replace(known_requests[0], cluster=name) for name in ("c", "edge"))
    found, elsewhere = predictor.predict([own, abroad])
    note = (
        "no meter in cluster edge that the model learned from: predicted from c, node types and the physical estimate"
    )
    assert (found.notes, elsewhere.notes) == ([], [note])
    assert elsewhere.basis in {"seen", "similar", "prior"}
    assert elsewhere.interval.avg_power_w[1] > found.interval.avg_power_w[1]
    assert predictor.predict(known_requests[:1])[0].notes == []  # no cluster named
