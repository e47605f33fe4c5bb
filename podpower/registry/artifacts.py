"""`encoder.joblib` and `knn_energy.joblib`: encoders and models in the format of `podpower.registry.sealing`."""

import hashlib
from collections.abc import Callable, Mapping
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final, TypeVar

from upath import UPath

from podpower.errors import Refused
from podpower.features.encoder import Encoder
from podpower.io.files import read_bounded, write_atomically
from podpower.model.knn import KnnModel
from podpower.registry.sealing import LIMIT_BYTES, REMAKE, Kind, encoded, one_line, seal, unseal

T = TypeVar("T")

UNITS: Final = {"power": "W", "energy": "J", "cpu": "mcpu", "memory": "MiB", "step": "s"}
LIBRARIES: Final = ("podpower", "numpy", "joblib")


def encoder_bytes(encoder: Encoder) -> bytes:
    """Return `encoder` as an artifact."""
    state = encoder.state()
    description = {
        **_envelope(),
        "schema": {"version": state["schema_version"], "columns": list(encoder.column_names), "dim": encoder.dim},
        "target": None,  # an encoder serves every target and step
        "step_seconds": None,
        "training_fingerprint": encoder.fingerprint,
        "metrics": {"fitted_on": state["fitted_on"]},
    }
    return seal("encoder", state, description=description)


def encoder_from_bytes(data: bytes) -> Encoder:
    """Return the encoder of an artifact. Refused as `unseal`, and when its state does not fit this version."""
    return _from_state(Encoder.from_state, unseal(data, kind="encoder"), kind="encoder")


def model_bytes(model: KnnModel) -> bytes:
    """Return `model` as an artifact."""
    state = model.state()
    description = {
        **_envelope(),
        "schema": {"version": state["schema_version"], "dim": model.dim},
        "target": model.target,
        "step_seconds": model.step_seconds,
        "training_fingerprint": _fingerprint(model.target, state["index"]),
        "encoder_fingerprint": model.encoder_fingerprint,
        "metrics": model.metrics,
    }
    return seal("knn_energy", state, description=description)


def model_from_bytes(data: bytes) -> KnnModel:
    """Return the model of an artifact. Refused as `unseal`, and when its state does not fit this version."""
    return _from_state(KnnModel.from_state, unseal(data, kind="knn_energy"), kind="knn_energy")


def training_fingerprint(model: KnnModel) -> str:
    """Return 64 hex digits that identify the specs and labels that `model` was trained on."""
    return _fingerprint(model.target, model.state()["index"])


def save_encoder(encoder: Encoder, path: UPath | Path | str) -> None:
    """Write `encoder` to `path`, whole or not at all."""
    write_atomically(path, encoder_bytes(encoder))


def load_encoder(path: UPath | Path | str) -> Encoder:
    """Return the encoder at `path`. InvalidInput when there is no such file, Refused as `encoder_from_bytes`."""
    return _load(encoder_from_bytes, path)


def save_model(model: KnnModel, path: UPath | Path | str) -> None:
    """Write `model` to `path`, whole or not at all."""
    write_atomically(path, model_bytes(model))


def load_model(path: UPath | Path | str) -> KnnModel:
    """Return the model at `path`. InvalidInput when there is no such file, Refused as `model_from_bytes`."""
    return _load(model_from_bytes, path)


def _load(read: Callable[[bytes], T], path: UPath | Path | str) -> T:
    try:
        return read(read_bounded(path, limit_bytes=LIMIT_BYTES))
    except Refused as error:
        raise Refused(f"{path}: {error}") from None


def _fingerprint(target: str, index: Mapping[str, Any]) -> str:
    return hashlib.sha256(encoded({"target": target, "index": index})).hexdigest()


def _envelope() -> dict[str, Any]:
    return {"units": dict(UNITS), "libraries": {name: library_version(name) for name in LIBRARIES}}


def _from_state(make: Callable[[Mapping[str, Any]], T], state: dict[str, Any], *, kind: Kind) -> T:
    try:
        return make(state)
    except Refused:
        raise
    except Exception as error:  # a state of the right types but wrong content fails wherever it is first used
        raise Refused(f"its state does not fit ({one_line(error)}): {REMAKE[kind]}") from None
