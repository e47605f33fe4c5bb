"""Tables, encoder and models at a URL, as the assets use them."""

import polars as pl

from podpower.features.encoder import Encoder
from podpower.model.knn import KnnModel
from podpower_assets.resources import Models, Tables

HOURS = ["2026-01-01-09:00", "2026-01-01-10:00"]


def test_partitions_and_the_encoder_are_kept_at_a_url(s3_url: str, pair: tuple[Encoder, KnnModel]) -> None:
    tables = Tables(root=f"{s3_url}/podpower/tables")
    assert tables.partitions("features") == []
    assert tables.read("features", HOURS[0]) is None
    assert tables.encoder() is None
    for hour in HOURS:
        tables.write("features", hour, pl.DataFrame({"namespace": ["shop"], "hour": [hour]}))
    assert tables.partitions("features") == HOURS
    found = tables.read("features", HOURS[1])
    assert found is not None
    assert found["hour"].to_list() == HOURS[1:]
    tables.save_encoder(pair[0])
    assert tables.require_encoder().fingerprint == pair[0].fingerprint
    store = Models(root=f"{s3_url}/podpower/models").open()
    store.promote(store.add(*pair))
    assert Models(root=f"{s3_url}/podpower/models").open().served() == store.versions()[0].version
