"""The model that predicts for a command: given files, those of the settings, the served one of the store, or none."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from podpower.cli import output
from podpower.cli.arguments import Parser, UsageError
from podpower.cli.artifacts import read_encoder, read_model
from podpower.errors import Refused

if TYPE_CHECKING:
    from podpower.model.predictor import Predictor
    from podpower.specs.requests import InferenceRequest


def add_model(parser: Parser) -> None:
    """Add the options that name the files of a model, or the store of a served one."""
    parser.add_argument("--encoder", metavar="FILE", help="encoder.joblib")
    parser.add_argument("--model", metavar="FILE", help="knn_energy.joblib, trained with that encoder")
    parser.add_argument(
        "--store",
        metavar="PATH_OR_URL",
        help="model store whose served model predicts, such as https://HOST/store of a service (default: "
        "PODPOWER_MODEL_STORE, else models/ below PODPOWER_HOME or .podpower)",
    )
    parser.add_argument("--url", dest="store", help=argparse.SUPPRESS)  # as people name the address of a service


def predictor_of(arguments: argparse.Namespace, requests: "Sequence[InferenceRequest]") -> "Predictor":
    """Return the given model, else that of the settings or the served one of the store, else the estimate from
    resources; print its notes. Refused where a store is given that serves none.
    """
    from podpower.features.encoder import Encoder  # noqa: PLC0415
    from podpower.model.cold_start import NOTE, VERSION, cold_start_model  # noqa: PLC0415
    from podpower.model.predictor import Predictor  # noqa: PLC0415
    from podpower.specs.requests import Container, InferenceRequest  # noqa: PLC0415

    if (arguments.encoder is None) != (arguments.model is None):
        raise UsageError("--encoder and --model belong together: give both, or none for the served model of the store")
    if arguments.store is not None and arguments.model is not None:
        raise UsageError("--store does not go with --encoder and --model: give the store, or the two files")
    places = arguments.settings.places
    store = arguments.store or places.model_store
    files = (arguments.encoder, arguments.model) if arguments.model is not None else places.artifacts
    if arguments.store is not None:
        files = None
    predictor = None
    if files is not None:
        predictor = Predictor(read_encoder(files[0]), read_model(files[1]), version="file")
    elif served := _served(store):
        predictor = served
        output.note(f"note: predicted by {served.version}, the served model of {store}")
    elif arguments.store is not None:
        raise Refused(f"the store {store} serves no model yet: promote one there, or leave --store out for estimates")
    if predictor is not None:
        for text in predictor.model.notes:
            output.note(f"note: {text}")
        return predictor
    # An encoder needs something to be fitted on; without a label nothing depends on what.
    nothing = [InferenceRequest(workload_kind="Pod", workload_name="none", containers=[Container()])]
    encoder = Encoder.fit(requests or nothing, text="none")
    if requests:
        output.note(f"note: no model is given, {store} serves none, and {NOTE}")
    return Predictor(encoder, cold_start_model(encoder), version=VERSION)


def _served(root: str) -> "Predictor | None":
    """Return the served model of the store at `root`; None where there is none yet."""
    from podpower.model.predictor import Predictor  # noqa: PLC0415
    from podpower.registry.store import ModelStore  # noqa: PLC0415

    store = ModelStore(root)
    if (found := store.last_loaded()) is not None:
        return Predictor(*found[1], version=found[0])
    version = store.last_served()
    if version is None:
        return None
    try:  # for its error: no estimate stands in for it unnoticed
        return Predictor(*store.load(version), version=version)
    except Refused as error:  # such as a model of an earlier podpower
        raise Refused(
            f"the served model of {root} cannot be used: {error}; materialize knn_model for another one, or give "
            "--encoder and --model"
        ) from error
