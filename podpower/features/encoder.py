"""The one encoder: fitted on requests, applied alike in training and serving, its whole state in one dict."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Refused
from podpower.features.columns import (
    CATEGORY_COLUMNS,
    NUMERIC_COLUMNS,
    Amounts,
    OneHot,
    amounts_of,
    fit_vocabularies,
    numeric_values,
)
from podpower.features.ngrams import (
    BUCKETS,
    FIELD_WEIGHTS,
    NGRAM_SIZES,
    SKETCH_DIM,
    TEXT_DIM,
    distinct_texts,
    fit_idf,
    fit_projection,
)
from podpower.features.projections import Projector
from podpower.features.sbert import DEFAULT_SBERT_MODEL, sbert_vectors
from podpower.specs.requests import InferenceRequest

TextEncoder = Literal["ngram", "sbert", "both", "none"]

SCHEMA_VERSION = 4  # of the columns and of how they are computed; raise it whenever either changes
_CLIP = 4.0  # robust deviations beyond this are equally far: one giant must not hide all other differences
_HALF_SQUARE = float(np.float32(np.sqrt(0.5)))
_MIN_SCALE = 1.0  # one e-fold: columns that hardly vary in the fitted requests are not blown up

# Embedded when fitting and when encoding: a name or a folder does not identify the weights.
_PROBE = InferenceRequest(workload_kind="Deployment", workload_name="redis-cache", containers=[])
_PROBE_TOLERANCE = 1e-3  # threads and processors differ by less, other weights by more


class Encoder:
    """Turns requests into vectors of `dim` float32. Make one with `fit` or `from_state`, never directly.

    `fingerprint` (64 hex digits) identifies the encoder: vectors of different fingerprints must not be compared.
    `column_names` has one name for each number of a vector, `blocks` the widths of the blocks they come in, `text` is
    the text encoder. How much each block counts is learned from labels (`podpower.model.metric`), not set here.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = dict(state)
        self.text: TextEncoder = state["text"]
        self.column_names: tuple[str, ...] = tuple(state["column_names"])
        self.dim = len(self.column_names)
        self.blocks: dict[str, int] = dict(state["blocks"])
        self.fingerprint: str = state["fingerprint"]
        self._is_probed = False
        self._centers, self._scales = state["numeric_centers"], state["numeric_scales"]
        self._one_hot = OneHot(state["vocabularies"])
        if self.text in {"ngram", "both"}:
            self._projector = Projector(state["idf"], state["projection"])

    @classmethod
    def fit(
        cls,
        requests: Sequence[InferenceRequest],
        *,
        text: TextEncoder = "ngram",
        sbert_model: str | None = None,
    ) -> Self:
        """Learn scales, vocabularies and word rarities from `requests`.

        InvalidInput when there is no request or the text encoder is unknown; Unavailable when it is "sbert" or "both"
        and sentence-transformers is not installed.
        """
        if text not in get_args(TextEncoder):
            raise InvalidInput(f"unknown text encoder {text!r}: use one of {', '.join(get_args(TextEncoder))}")
        if not requests:
            raise InvalidInput("no request to fit the encoder on: give at least one workload")
        centers, scales = _robust_scales(numeric_values([amounts_of(request) for request in requests]))
        state: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "text": text,
            "numeric_centers": centers,
            "numeric_scales": scales,
            "vocabularies": fit_vocabularies(requests),
            "fitted_on": len(requests),
        }
        texts_by_block: dict[str, int] = {}
        if text in {"ngram", "both"}:
            texts = distinct_texts(requests)
            idf = fit_idf(texts)
            state |= {"idf": idf, "projection": fit_projection(texts, idf)}
            state |= {"ngram_sizes": list(NGRAM_SIZES), "field_weights": dict(FIELD_WEIGHTS)}
            texts_by_block["text"] = TEXT_DIM
        if text in {"sbert", "both"}:
            state["sbert_model"] = sbert_model or DEFAULT_SBERT_MODEL
            state["sbert_probe"] = sbert_vectors([_PROBE], state["sbert_model"])[0]
            texts_by_block["sentence"] = len(state["sbert_probe"])
        state["column_names"] = _column_names(state["vocabularies"], texts_by_block)
        numeric = 2 * len(NUMERIC_COLUMNS)
        category = len(state["column_names"]) - numeric - sum(texts_by_block.values())
        # A list: the order matters, and stored dictionaries are sorted.
        state["blocks"] = [["numeric", numeric], ["category", category], *([b, w] for b, w in texts_by_block.items())]
        state["fingerprint"] = _digest(state)
        return cls(state)

    def transform(
        self, requests: Sequence[InferenceRequest], amounts: Sequence[Amounts] | None = None
    ) -> NDArray[np.float32]:
        """Return the vectors of `requests`, (n, dim), each independent of the others in the batch.

        `amounts` are those of `requests`, for a caller that has them.

        With the text encoder "sbert", Unavailable without its library and Refused with other weights than fitted.
        """
        vectors = np.zeros((len(requests), self.dim), dtype=np.float32)
        if not requests:
            return vectors
        if amounts is None:
            amounts = [amounts_of(request) for request in requests]
        self._write_numeric(numeric_values(amounts), vectors)
        # Two values that differ are 2 apart in a one-hot square; halved, they are as far as one robust deviation.
        first = self.blocks["numeric"]
        self._one_hot.write(requests, vectors[:, first:], _HALF_SQUARE)
        first += self.blocks["category"]
        if "text" in self.blocks:
            vectors[:, first : first + TEXT_DIM] = self._projector.vectors(requests)
            first += TEXT_DIM
        if "sentence" in self.blocks:
            vectors[:, first:] = self._sentence_vectors(requests)
        return vectors

    def probe(self) -> None:
        """Load the sentence model, if there is one, and check it once. Refused when the model found under the stored
        name is another than the one fitted with, Unavailable without its library.
        """
        if self._is_probed or "sentence" not in self.blocks:
            return
        model, expected = self._state["sbert_model"], self._state["sbert_probe"]
        found = sbert_vectors([_PROBE], model)[0]
        if found.shape != expected.shape or np.abs(found - expected).max() > _PROBE_TOLERANCE:
            raise Refused(f"the sentence model {model!r} is not the one this encoder was fitted with: fit it again")
        self._is_probed = True

    def _sentence_vectors(self, requests: Sequence[InferenceRequest]) -> NDArray[np.float32]:
        self.probe()
        return sbert_vectors(requests, self._state["sbert_model"])

    def _write_numeric(self, values: NDArray[np.float32], vectors: NDArray[np.float32]) -> None:
        """Write robust deviations, 0 where unknown, then one indicator column for each unknown value."""
        columns = len(NUMERIC_COLUMNS)
        missing = np.isnan(values)
        deviations = np.where(missing, self._centers, values)
        deviations -= self._centers
        deviations /= self._scales
        np.maximum(deviations, -_CLIP, out=deviations)
        np.minimum(deviations, _CLIP, out=vectors[:, :columns])
        vectors[:, columns : 2 * columns] = missing

    def state(self) -> dict[str, Any]:
        """Return the fitted state as str, numbers, lists, dicts of them and numpy arrays."""
        return dict(self._state)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the encoder that gave `state`. Refused when the state is of another schema or was changed."""
        version = state.get("schema_version")
        if version != SCHEMA_VERSION:
            raise Refused(
                f"encoder schema {version!r} is not {SCHEMA_VERSION}: fit it again with `podpower encode fit`"
            )
        if state.get("fingerprint") != _digest(state):
            raise Refused("encoder state does not match its fingerprint: fit it again with `podpower encode fit`")
        if state["text"] in {"ngram", "both"} and (
            state["idf"].shape != (BUCKETS,)
            or state["projection"].shape != (SKETCH_DIM, TEXT_DIM)
            or state["ngram_sizes"] != list(NGRAM_SIZES)
            or state["field_weights"] != FIELD_WEIGHTS
        ):
            raise Refused("encoder was made with other n-grams than this version's: fit it again")
        return cls(state)


def _robust_scales(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the median and interquartile range (as a standard deviation) of each column's known values.

    What nobody had when the encoder was fitted has no scale: its values are all equally far (infinite scale), and only
    that they are known at all tells.
    """
    centers = np.zeros(values.shape[1], dtype=np.float32)
    scales = np.full(values.shape[1], np.inf, dtype=np.float32)
    for column in range(values.shape[1]):
        known = values[~np.isnan(values[:, column]), column]
        if len(known):
            low, centers[column], high = np.percentile(known, (25, 50, 75))
            scales[column] = max(_MIN_SCALE, (high - low) / 1.349)  # 1.349: the range of a standard normal
    return centers, scales


def _column_names(vocabularies: Sequence[Sequence[str]], texts_by_block: Mapping[str, int]) -> list[str]:
    names = [f"log_{column}" for column in NUMERIC_COLUMNS] + [f"{column}_missing" for column in NUMERIC_COLUMNS]
    for column, vocabulary in zip(CATEGORY_COLUMNS, vocabularies, strict=True):
        names += [f"{column}={value}" for value in vocabulary] + [f"{column}=(other)"]
    return names + [f"{block}_{index}" for block, width in texts_by_block.items() for index in range(width)]


def _digest(state: Mapping[str, Any]) -> str:
    """Return SHA-256 of all entries but the fingerprint, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(set(state) - {"fingerprint"}):
        value = state[name]
        digest.update(name.encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(cast("object", value), sort_keys=True).encode())
    return digest.hexdigest()
