"""The newest model of a source: its first load, and its replacement by a newer one while it is used."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from podpower.errors import PodpowerError, Unavailable
from podpower.io.streams import check_no_stream
from podpower.model.predictor import Predictor
from podpower.registry.artifacts import load_encoder, load_model, training_fingerprint
from podpower.registry.store import ModelStore

_FIRST_WAIT_S, _MOST_WAIT_S = 2.0, 300.0  # before a refused model is read again

_log = logging.getLogger("podpower.serving")


class RefusedModel(msgspec.Struct, kw_only=True, frozen=True):
    """A model that cannot be used. `version` is null when its name could not be read."""

    version: str | None
    detail: str
    at: str


class Source(Protocol):
    """Source of models; `remedy` is the advice while there is no model."""

    remedy: str

    def current(self) -> str | None:
        """Return the name of the model to serve; None before the first one. Another name means another model."""

    def load(self, name: str) -> Predictor:
        """Load the model of that name. PodpowerError when it cannot be served."""

    def fallback(self) -> Predictor | None:
        """Return another predictor for a start where the current model cannot be loaded; None without one."""


class StoreSource:
    """The latest promoted version of a model store."""

    remedy = "train one and promote it (`podpower models list` names candidates and their failed checks)"

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def current(self) -> str | None:
        """Return the promoted version."""
        return self._store.served()

    def load(self, name: str) -> Predictor:
        """Load the version `name`."""
        return Predictor(*self._store.load(name), version=name)

    def fallback(self) -> Predictor | None:
        """Load the last version promoted before that can be loaded."""
        found = self._store.last_loaded()
        return Predictor(*found[1], version=found[0]) if found else None


class FileSource:
    """Two artifacts at fixed paths; replaced files are loaded."""

    remedy = "put an encoder and a model of its vectors at ENCODER_PATH and MODEL_PATH"

    def __init__(self, *, encoder_path: str, model_path: str) -> None:
        self._encoder_path, self._model_path = Path(encoder_path), Path(model_path)

    def current(self) -> str | None:
        """Return time and size of both files. Unavailable while one is missing."""
        try:
            stats = [path.stat() for path in (self._encoder_path, self._model_path)]
        except FileNotFoundError as error:
            raise Unavailable(f"no such file: {error.filename}") from None
        except OSError as error:
            raise Unavailable(f"cannot access {error.filename}: {error.strerror}") from None
        for path in (self._encoder_path, self._model_path):
            check_no_stream(path)
        return " ".join(f"{stat.st_mtime_ns}:{stat.st_size}:{stat.st_ino}" for stat in stats)

    def load(self, name: str) -> Predictor:  # noqa: ARG002  # the paths are fixed
        """Load the files; the version comes from the training data of the model."""
        model = load_model(self._model_path)
        return Predictor(load_encoder(self._encoder_path), model, version=f"file-{training_fingerprint(model)[:12]}")

    def fallback(self) -> None:
        """Return None: there are no other files."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Result of one look at a source: the `name` of the current model, and one of: nothing to do, a newly loaded
    `predictor`, or the `error` for which there is none, with a `fallback` where nothing is in use yet.
    """

    name: str | None
    predictor: Predictor | None = None
    error: str | None = None
    fallback: Predictor | None = None
    is_waiting: bool = False  # for the time at which a refused model is read again


class NewestModel:
    """The one reference to the model in use, and the newer model that was refused, if any. Threads may share it; one of
    them at a time may refresh it.
    """

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._name: str | None = None
        self._predictor: Predictor | None = None
        self.refused: RefusedModel | None = None
        self._warned = False  # that the source has no model
        self._failed: str | None = None  # the name whose model was refused, and when it is read again
        self._wait_seconds = self._again_at = 0.0

    @property
    def predictor(self) -> Predictor:
        """Return the current model; a request takes it once. Unavailable while there is none."""
        if self._predictor is None:
            why = f" ({self.refused.detail})" if self.refused else ""
            raise Unavailable(f"no model to serve yet{why}: {self._source.remedy}; it is loaded without a restart")
        return self._predictor

    @property
    def found(self) -> Predictor | None:
        """Return the current model; None while there is none."""
        return self._predictor

    def refresh(self) -> None:
        """Load the model of the source if it is another one; a model that cannot be served changes nothing, and is read
        again after a wait that doubles each time.
        """
        self.take(self.look())

    def look(self) -> Seen:
        """Read the source, and load what is new. Changes nothing, and takes as long as the source does."""
        name = None
        try:
            name = self._source.current()
            if name is None or name == self._name:
                return Seen(name=name)
            if name == self._failed and self._clock() < self._again_at:
                return Seen(name=name, is_waiting=True)
            predictor = self._source.load(name)
            predictor.encoder.probe()  # here, and not while the first request waits
            return Seen(name=name, predictor=predictor)
        except PodpowerError as error:
            return Seen(name=name, error=str(error), fallback=self._fallback())

    def take(self, seen: Seen) -> None:
        """Use what was seen."""
        if seen.is_waiting:
            return
        if seen.error is not None:
            self._wait(seen.name)
            if seen.fallback is not None:
                self._predictor = seen.fallback
                self.on_load()
            self.refuse(seen.error, name=seen.name)
            return
        if seen.name is None and self._predictor is not None:  # an unmounted or emptied store
            self._failed = None
            self.refuse(f"it has no model any more: {self._source.remedy}")
            return
        self.refused = self._failed = None  # before the model is seen: no answer has both
        if seen.predictor is not None:
            self._use(seen.predictor, seen.name)
        if seen.name is None and not self._warned:
            _log.warning("no model to serve yet: %s", self._source.remedy)
            self._warned = True

    def on_load(self) -> None:
        """Do nothing; called after each new model."""

    def on_refusal(self) -> None:
        """Do nothing; called for each refused model, and each other reason."""

    def _use(self, predictor: Predictor, name: str | None) -> None:
        self._predictor, self._name = predictor, name
        self.on_load()
        _log.info("serving model %s", predictor.version)
        for note in predictor.model.notes:
            _log.info("model %s: %s", predictor.version, note)

    def _wait(self, name: str | None) -> None:
        """Set when a refused model is read again; a source that cannot be reached is tried at every call."""
        self._wait_seconds = min(self._wait_seconds * 2, _MOST_WAIT_S) if name == self._failed else _FIRST_WAIT_S
        self._failed, self._again_at = name, self._clock() + self._wait_seconds

    def _fallback(self) -> Predictor | None:
        if self._predictor is None:
            with contextlib.suppress(PodpowerError):
                return self._source.fallback()
        return None

    def refuse(self, detail: str, *, name: str | None = None) -> None:
        """Report why a model is not used, or the whole source where it has no `name`; once while that stays."""
        if self.refused is None or (self.refused.version, self.refused.detail) != (name, detail):
            self.on_refusal()
            served = f"model {self._predictor.version} is served" if self._predictor else "no model is served"
            _log.warning("model %s is refused, %s: %s", name or "of the source", served, detail)
            self.refused = RefusedModel(version=name, detail=detail, at=datetime.now(UTC).isoformat(timespec="seconds"))


def source_of(*, encoder_path: str | None, model_path: str | None, model_store: str) -> Source:
    """Return two artifacts as a source if they are given, else the store."""
    if encoder_path is not None and model_path is not None:
        return FileSource(encoder_path=encoder_path, model_path=model_path)
    return StoreSource(ModelStore(model_store))
