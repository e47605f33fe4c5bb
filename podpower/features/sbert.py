"""Sentence embeddings of a request's words, for those who installed `podpower[sbert]`. Imported when used."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Unavailable
from podpower.extras import how_to_install
from podpower.features.ngrams import request_words
from podpower.features.projections import Recent
from podpower.specs.requests import InferenceRequest

_MAX_TEXTS: Final = 4096  # kept twice at most, of 2 KiB each and their characters
DEFAULT_SBERT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def sbert_vectors(requests: Sequence[InferenceRequest], model_name: str) -> NDArray[np.float32]:
    """Return (n, model's width) of unit length. Unavailable without the library, InvalidInput when it finds no such
    model.
    """
    texts = [" ".join(filter(None, request_words(request))).replace("/", " ") for request in requests]
    kept = _kept(model_name)
    found = {text: kept.get(text) for text in texts}
    if new := [text for text, vector in found.items() if vector is None]:
        # One by one: in a batch, texts are padded to the longest, and round differently.
        vectors = _load(model_name).encode(new, normalize_embeddings=True, batch_size=1, show_progress_bar=False)
        for text, vector in zip(new, np.asarray(vectors, dtype=np.float32), strict=True):
            found[text] = vector
            kept.keep(text, vector)
    return np.stack([vector for text in texts if (vector := found[text]) is not None])


@lru_cache(maxsize=2)
def _kept(model_name: str) -> Recent[str, NDArray[np.float32]]:  # noqa: ARG001  # one for each model
    return Recent(_MAX_TEXTS)


@lru_cache(maxsize=2)  # loading takes seconds; serving and training use one, a comparison two
def _load(model_name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - brings torch, so only on demand
    except ImportError as error:
        raise Unavailable(f"the sbert text encoder needs one more package: {how_to_install('sbert')}") from error
    try:
        return SentenceTransformer(model_name, device="cpu")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"no sentence-transformers model {model_name!r}: give a name or the path of a folder"
        ) from error
