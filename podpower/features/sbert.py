"""Sentence embeddings of a request's words, for those who installed `podpower[sbert]`. Imported when used."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Unavailable
from podpower.features.ngrams import request_words
from podpower.specs.requests import InferenceRequest

DEFAULT_SBERT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def sbert_vectors(requests: Sequence[InferenceRequest], model_name: str) -> NDArray[np.float32]:
    """Return (n, model's width) of unit length. Unavailable without the library, InvalidInput when it finds no such
    model.
    """
    texts = [" ".join(filter(None, request_words(request))).replace("/", " ") for request in requests]
    distinct = list(dict.fromkeys(texts))
    vectors = np.asarray(_load(model_name).encode(distinct, normalize_embeddings=True), dtype=np.float32)
    position = {text: index for index, text in enumerate(distinct)}
    return vectors[[position[text] for text in texts]]


@lru_cache(maxsize=2)  # loading takes seconds; serving and training use one, a comparison two
def _load(model_name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - brings torch, so only on demand
    except ImportError as error:
        raise Unavailable("the sbert text encoder needs: pip install 'podpower[sbert]'") from error
    try:
        return SentenceTransformer(model_name, device="cpu")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"no sentence-transformers model {model_name!r}: give a name or the path of a folder"
        ) from error
