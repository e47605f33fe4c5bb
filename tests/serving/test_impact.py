"""Price, carbon and scope over HTTP."""

import pytest

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "acme/app0:1", resources: {requests: {cpu: 500m}}}]}
"""
YAML = {"Content-Type": "application/yaml"}


def test_a_batch_has_cost_carbon_and_idle_share_where_they_are_requested(client):
    plain = client.post("/predict/batch", content=MANIFEST, headers=YAML).json()
    assert "cost_month" not in plain["total"]
    assert plain["inputs"]["scope"] == "dynamic"
    query = {"price": "0.3", "currency": "usd", "pue": "1.5", "carbon": "400", "scope": "total", "idle_w_per_vcpu": "2"}
    answer = client.post("/predict/batch", content=MANIFEST, headers=YAML, params=query).json()
    total = answer["total"]
    assert total["total_avg_power_w"] == pytest.approx(plain["total"]["total_avg_power_w"] + 2.0)
    assert total["cost_month"] == pytest.approx(total["kwh_month"] * 1.5 * 0.3)
    assert total["co2e_kg_month"] == pytest.approx(total["kwh_month"] * 1.5 * 0.4)
    assert total["currency"] == "USD"
    assert answer["predictions"][0]["idle_avg_power_w"] == pytest.approx(2.0)
    assert answer["inputs"]["idle_w_per_vcpu"] == 2.0


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"price": "lots"}, "price"), ({"price": "-1"}, "price"), ({"price": "nan"}, "price"),
        ({"price": "1e99"}, "price"), ({"pue": "0.5"}, "pue"), ({"carbon": "/etc/passwd"}, "carbon"),
        ({"carbon": "1e9"}, "carbon"), ({"currency": "<b>"}, "currency"), ({"scope": "all"}, "scope"),
        ({"scope": "total"}, "idle_w_per_vcpu"), ({"idle_w_per_vcpu": "inf", "scope": "total"}, "idle_w_per_vcpu"),
        ({"prcie": "1"}, "did you mean price"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_named(query, named, client):
    answer = client.post("/predict/batch", content=MANIFEST, headers=YAML, params=query)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]
