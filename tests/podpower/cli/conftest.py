"""A small local workflow on files: manifests, labels, and everything made from them by the commands."""

import pytest

from podpower.cli import main
from tests.podpower.cli.shop import IMAGES, labels, manifest


@pytest.fixture(scope="session")
def workflow(tmp_path_factory):
    """A folder with shop.yaml and labels.parquet, and what encode, join and train make of them."""
    folder = tmp_path_factory.mktemp("workflow")
    names = [f"shop-{image.split(':')[0].split('/')[-1]}" for image in IMAGES]
    texts = [manifest(n, i, cpu=f"{100 * (k + 1)}m") for k, (n, i) in enumerate(zip(names, IMAGES, strict=True))]
    (folder / "shop.yaml").write_text("---\n".join(texts))
    labels(names).write_parquet(folder / "labels.parquet")
    for command in (
        "encode fit --input {}/shop.yaml --out {}/encoder.joblib",
        "encode transform --input {}/shop.yaml --encoder {}/encoder.joblib --out {}/features.parquet",
        "join --features {}/features.parquet --labels {}/labels.parquet --out {}/train_rows.parquet",
        "train --train {}/train_rows.parquet --out {}/knn_energy.joblib",
    ):
        assert main(command.replace("{}", str(folder)).split()) == 0
    return folder
