"""Words of a request into one short vector by hashed character n-grams: no vocabulary, no model, no Python hash().

Each word is padded with a space and cut into its 3- to 5-grams, a polynomial rolling hash names their buckets, the
inverse document frequency of the bucket weighs them, and a count sketch folds the buckets into SKETCH_DIM numbers. Of
these the principal directions of the fitted texts are kept, so that known software is compared without loss, and a
coarser sketch of what they do not explain, so that unknown software stays apart. All of it is arithmetic on the bytes
of the whole batch at once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from podpower.features.names import stable_name
from podpower.kubernetes.images import image_key
from podpower.specs.requests import InferenceRequest

SKETCH_DIM = 2048  # chance makes unrelated texts alike by 1 / sqrt(SKETCH_DIM), a cosine of 0.02
BASIS_DIM, REST_DIM = 128, 128
TEXT_DIM = BASIS_DIM + REST_DIM
BUCKETS = 1 << 14
NGRAM_SIZES = (3, 4, 5)
# Weights of a field's n-grams. Images predict best, names are chosen by people, arguments are the noisiest.
FIELD_WEIGHTS = {"image": 1.0, "workload": 1.0, "container": 0.5, "command": 0.25}

_WORD = re.compile(r"[a-z0-9]+")
_FLAG = re.compile(r"--?[a-zA-Z][\w.-]*")
_PRIME = np.uint64(1099511628211)  # of FNV-1a, as multiplier of the rolling hash
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # the finalizer of MurmurHash3
_SHIFT = np.uint64(33)
_FLAG_CHARS = 64  # of a flag that is cached
_CACHED_CHARS = 256  # of a text whose words are cached: 16,000 of them take some 80 MB at most
_MAX_CHARS = 4096  # of a field; more is no name, and what is cached must stay small
_CHUNK = 1024  # requests at a time: bounds the memory of transform to some 50 MB
_MAX_BASIS_TEXTS = 1024
_MIN_EIGENVALUE = 1e-6
LEAST_NORM = 1e-12  # of a sketch without words


Texts = tuple[str, str, str, str]


def request_words(request: InferenceRequest) -> Texts:
    """Return the text of FIELD_WEIGHTS: image repositories, workload name, container names, command with its flags.

    Of arguments only the names of flags are used: their values are addresses, paths and secrets.
    """
    images, names, commands = [], [], []
    for container in request.containers:
        images.append(image_key((container.image or "")[:_MAX_CHARS]) or "")
        names.append((container.name or "")[:_MAX_CHARS])
        if container.command:
            commands.append(container.command[0].rpartition("/")[2])
            commands += [_flag(word.partition("=")[0]) for word in container.command[1:] if word.startswith("-")]
        if container.args:
            commands += [_flag(word.partition("=")[0]) for word in container.args if word.startswith("-")]
    name = stable_name(request.workload_kind, request.workload_name[:_MAX_CHARS])
    image, container_names, command = " ".join(images), " ".join(names), " ".join(commands)
    return image[:_MAX_CHARS], name, container_names[:_MAX_CHARS], command[:_MAX_CHARS]


def _flag(word: str) -> str:
    """Return the name of a flag; empty where it is none."""
    return _known_flag(word) if len(word) <= _FLAG_CHARS else _known_flag.__wrapped__(word)


@lru_cache(maxsize=1 << 12)
def _known_flag(word: str) -> str:
    flag = _FLAG.match(word)
    return flag.group() if flag else ""


def distinct_words(text: str) -> tuple[str, ...]:
    """Return the distinct words of a text in order. A number alone is a port, a size or a version, and no word."""
    return _known_words(text) if len(text) <= _CACHED_CHARS else _known_words.__wrapped__(text)


@lru_cache(maxsize=1 << 14)
def _known_words(text: str) -> tuple[str, ...]:
    return tuple(word for word in dict.fromkeys(_WORD.findall(text.lower())) if not word.isdigit())


def _padded(words: Iterable[str]) -> bytes:
    """Return words, each after a zero byte, which no n-gram crosses."""
    return b"".join(b"\0 %b " % word.encode() for word in words)


def _ngrams(texts: Sequence[Texts]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the request's index, the bucket and the field's weight of each n-gram, in any order."""
    segments = [_padded(distinct_words(text)) for fields in texts for text in fields]
    owner, bucket, weight = _segment_ngrams(segments)
    fields = len(FIELD_WEIGHTS)
    return owner // fields, bucket, np.array(list(FIELD_WEIGHTS.values()))[owner % fields] * weight


def _segment_ngrams(segments: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the segment's index, the bucket and the weight within its word of each n-gram, by size and place."""
    text = np.frombuffer(b"".join(segments), dtype=np.uint8)
    lengths = np.fromiter(map(len, segments), dtype=np.int64, count=len(segments))
    segment = np.repeat(np.arange(len(segments)), lengths)
    code = text.astype(np.uint64)
    # Bytes from each position to the next zero byte: an n-gram fits where there are at least n.
    zeros = np.append(np.flatnonzero(text == 0), len(text))
    word = np.searchsorted(zeros, np.arange(len(text)))
    room = zeros[word] - np.arange(len(text))
    starts, hashes = [], []
    rolling = code
    for size in range(2, NGRAM_SIZES[-1] + 1):
        rolling = rolling[:-1] * _PRIME + code[size - 1 :]
        if size in NGRAM_SIZES:
            fits = np.flatnonzero(room[: len(rolling)] >= size)
            starts.append(fits)
            hashes.append(rolling[fits])
    start = np.concatenate(starts)
    bucket = (_mixed(np.concatenate(hashes)) & np.uint64(BUCKETS - 1)).astype(np.int64)
    # A word counts as one however long it is: its n-grams share its weight.
    length = np.bincount(word[start], minlength=len(zeros))[word[start]]
    return segment[start], bucket, 1.0 / np.sqrt(length)


def bucket_values(idf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what an n-gram of each bucket adds to the cell of its sketch, (BUCKETS,)."""
    return (idf * _SKETCH_SIGN).astype(np.float64)


def word_cells(
    words: Sequence[str], of_bucket: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the cells of each word's sketch with their values, one word after another, and the ends of the words.

    `of_bucket` are the `bucket_values`.
    """
    owner, bucket, weight = _segment_ngrams([_padded((word,)) for word in words])
    order = np.argsort(owner, kind="stable")
    bucket = bucket[order]
    values = of_bucket[bucket] * weight[order]
    return _SKETCH_COLUMN[bucket], values, np.cumsum(np.bincount(owner, minlength=len(words)))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values ^ (values >> _SHIFT)
    for factor in _MIX:
        values = values * factor
        values = values ^ (values >> _SHIFT)
    return values


def distinct_texts(requests: Iterable[InferenceRequest]) -> list[Texts]:
    """Return the distinct texts in order: what `fit_idf` and `fit_projection` are fitted on."""
    return sorted({request_words(request) for request in requests})


def _chunks(texts: Sequence[Texts]) -> Iterator[Sequence[Texts]]:
    return (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))


def fit_idf(texts: Sequence[Texts]) -> NDArray[np.float32]:
    """Return the smoothed inverse document frequency of each bucket, (BUCKETS,), over distinct texts."""
    documents = np.zeros(BUCKETS, dtype=np.int64)
    for chunk in _chunks(texts):
        owner, bucket, _ = _ngrams(chunk)
        documents += np.bincount(np.unique(owner * BUCKETS + bucket) % BUCKETS, minlength=BUCKETS)
    return (np.log((1 + len(texts)) / (1 + documents)) + 1.0).astype(np.float32)


def _bucket_signs(salt: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the column of each of BUCKETS among `columns`, and its sign."""
    hashed = _mixed((np.arange(1, BUCKETS + 1, dtype=np.uint64) + np.uint64(salt * BUCKETS)) * _PRIME)
    sign = np.where(hashed & np.uint64(1), np.float32(1), np.float32(-1))
    return ((hashed >> np.uint64(8)) % np.uint64(columns)).astype(np.int64), sign


# Fixed, so it is code and not state.
_SKETCH_COLUMN, _SKETCH_SIGN = _bucket_signs(0, SKETCH_DIM)
_REST_COLUMN, _REST_SIGN = (part[:SKETCH_DIM] for part in _bucket_signs(1, REST_DIM))
_REST = np.zeros((SKETCH_DIM, REST_DIM))
_REST[np.arange(SKETCH_DIM), _REST_COLUMN] = _REST_SIGN


def sketches(texts: Sequence[Texts], idf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, SKETCH_DIM) of unit length, or zeros where a request has no words."""
    owner, bucket, field = _ngrams(texts)
    weights = bucket_values(idf)[bucket] * field
    sums = np.bincount(owner * SKETCH_DIM + _SKETCH_COLUMN[bucket], weights, len(texts) * SKETCH_DIM)
    cells = sums.astype(np.float64).reshape(len(texts), SKETCH_DIM)  # without any n-gram they are integers
    for cell in cells:  # one by one, so that no batch shows
        np.divide(cell, max(float(np.sqrt(np.add.reduce(cell * cell))), LEAST_NORM), out=cell)
    return cells


def fit_projection(texts: Sequence[Texts], idf: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the projection of sketches to vectors, (SKETCH_DIM, TEXT_DIM): the principal directions of the sketches
    of `texts` (zeros beyond their rank), then REST_DIM random ones of what is orthogonal to them.
    """
    step = -(-len(texts) // _MAX_BASIS_TEXTS)
    sketched = np.concatenate([sketches(chunk, idf) for chunk in _chunks(texts[::step])])
    values, vectors = np.linalg.eigh(sketched @ sketched.T)
    keep = np.flatnonzero(values > _MIN_EIGENVALUE)[::-1][:BASIS_DIM]
    directions = sketched.T @ (vectors[:, keep] / np.sqrt(values[keep]))
    # An eigenvector's sign is anyone's choice; this one is the same everywhere.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.where(directions[largest, np.arange(len(keep))] < 0, -1.0, 1.0)
    projection = np.zeros((SKETCH_DIM, TEXT_DIM))
    projection[:, : len(keep)] = directions
    projection[:, BASIS_DIM:] = _REST - directions @ (directions.T @ _REST)
    return projection.astype(np.float32)
