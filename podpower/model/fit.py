"""The match between an encoder and a model."""

from podpower.errors import Refused
from podpower.features.encoder import Encoder
from podpower.model.knn import KnnModel


def check_fit(encoder: Encoder, model: KnnModel) -> None:
    """Refused when `model` was not trained on vectors of `encoder`."""
    if not model.encoder_fingerprint:
        raise Refused(
            "the model was trained on rows that do not name their encoder, so nothing can be encoded for it: make "
            "features with `podpower encode transform`, then join and train again"
        )
    if encoder.fingerprint != model.encoder_fingerprint:
        raise Refused(
            f"the model was trained with encoder {model.encoder_fingerprint[:12]}, not {encoder.fingerprint[:12]}: "
            "use that encoder, or encode and train again with this one"
        )
    if encoder.dim != model.dim:
        raise Refused(
            f"the encoder gives vectors of {encoder.dim} columns, the model has {model.dim}: "
            "train again with `podpower train`"
        )
