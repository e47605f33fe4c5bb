"""The served model: its source, and its replacement by a newer one without a failed request."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from podpower.errors import PodpowerError, Unavailable
from podpower.model.predictor import Predictor
from podpower.registry.artifacts import load_encoder, load_model, training_fingerprint
from podpower.registry.store import ModelStore
from podpower_serving.schemas import RefusedModel
from podpower_serving.settings import Settings

_FIRST_WAIT_S, _MOST_WAIT_S = 2.0, 300.0  # before a refused model is read again

_log = logging.getLogger("podpower.serving")


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

    remedy = "train one and promote it"

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
        version = self._store.last_loadable()
        return self.load(version) if version else None


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
        return " ".join(f"{stat.st_mtime_ns}:{stat.st_size}:{stat.st_ino}" for stat in stats)

    def load(self, name: str) -> Predictor:  # noqa: ARG002  # the paths are fixed
        """Load the files; the version comes from the training data of the model."""
        model = load_model(self._model_path)
        return Predictor(load_encoder(self._encoder_path), model, version=f"file-{training_fingerprint(model)[:12]}")

    def fallback(self) -> None:
        """Return None: there are no other files."""


class Served:
    """The one reference to the served model, and the newer model that was refused, if any."""

    def __init__(
        self,
        source: Source,
        *,
        after_load: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`after_load` is called after each new model."""
        self._source = source
        self._after_load = after_load or (lambda: None)
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

    def refresh(self) -> None:
        """Load the model of the source if it is another one; a model that cannot be served changes nothing, and is read
        again after a wait that doubles each time.
        """
        name = None
        try:
            name = self._source.current()
            if name is not None and name != self._name:
                if name == self._failed and self._clock() < self._again_at:
                    return
                self._load(name)
        except PodpowerError as error:
            self._wait(name)
            self._fall_back()
            self._refuse(name, str(error))
        else:
            self.refused = self._failed = None
            if name is None and not self._warned:
                _log.warning("no model to serve yet: %s", self._source.remedy)
                self._warned = True

    def _load(self, name: str) -> None:
        predictor = self._source.load(name)
        self._predictor, self._name = predictor, name
        self._after_load()
        _log.info("serving model %s", predictor.version)
        for note in predictor.model.notes:
            _log.warning("model %s: %s", predictor.version, note)

    def _wait(self, name: str | None) -> None:
        """Set when a refused model is read again; a source that cannot be reached is tried at every call."""
        self._wait_seconds = min(self._wait_seconds * 2, _MOST_WAIT_S) if name == self._failed else _FIRST_WAIT_S
        self._failed, self._again_at = name, self._clock() + self._wait_seconds

    def _fall_back(self) -> None:
        if self._predictor is None:
            with contextlib.suppress(PodpowerError):
                self._predictor = self._source.fallback()
                if self._predictor is not None:
                    self._after_load()

    async def follow(self, *, every_seconds: float) -> None:
        """Call `refresh` repeatedly, off the event loop."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # the task must survive every error of a store
                _log.exception("reading the model source failed; the current model stays")

    def _refuse(self, name: str | None, detail: str) -> None:
        if self.refused is None or (self.refused.version, self.refused.detail) != (name, detail):
            served = f"model {self._predictor.version} is served" if self._predictor else "no model is served"
            _log.warning("model %s is refused, %s: %s", name or "of the source", served, detail)
            self.refused = RefusedModel(version=name, detail=detail, at=datetime.now(UTC).isoformat(timespec="seconds"))


def source_of(settings: Settings) -> Source:
    """Return the source that `settings` name."""
    if settings.encoder_path is not None and settings.model_path is not None:
        return FileSource(encoder_path=settings.encoder_path, model_path=settings.model_path)
    return StoreSource(ModelStore(settings.model_store))
