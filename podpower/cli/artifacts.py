"""Read and write encoders and models; `-` is standard input or output."""

from typing import TYPE_CHECKING

from podpower.cli import streams
from podpower.cli.tables import write_output

if TYPE_CHECKING:
    from podpower.features.encoder import Encoder
    from podpower.model.knn import KnnModel


def read_encoder(path: str) -> "Encoder":
    """Read an encoder. Refused when the file is not one."""
    from podpower.registry.artifacts import encoder_from_bytes, load_encoder  # noqa: PLC0415

    return encoder_from_bytes(streams.read_bytes(path)) if path == streams.STANDARD else load_encoder(path)


def read_model(path: str) -> "KnnModel":
    """Read a model. Refused when the file is not one."""
    from podpower.registry.artifacts import load_model, model_from_bytes  # noqa: PLC0415

    return model_from_bytes(streams.read_bytes(path)) if path == streams.STANDARD else load_model(path)


def write_encoder(encoder: "Encoder", out: str) -> None:
    """Write it whole or not at all."""
    from podpower.registry.artifacts import encoder_bytes  # noqa: PLC0415

    write_output(encoder_bytes(encoder), out)


def write_model(model: "KnnModel", out: str) -> None:
    """Write it whole or not at all."""
    from podpower.registry.artifacts import model_bytes  # noqa: PLC0415

    write_output(model_bytes(model), out)
