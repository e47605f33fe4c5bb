import contextlib
import socket
import threading

import httpx
import pytest
import uvicorn

from podpower.registry.store import ModelStore
from podpower_serving.app import create_app
from podpower_serving.settings import Settings
from tests.waiting import until


@contextlib.contextmanager
def _running(settings):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive(), every_s=0.01)
            assert server.started
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def running():
    """Runs the service on a socket and gives a client of it."""
    return _running


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory, pair):
    """A store with one promoted version."""
    store = ModelStore(tmp_path_factory.mktemp("filled") / "models")
    store.promote(store.add(*pair))
    return store


@pytest.fixture(scope="session")
def client(running, filled_store):
    """A client of a service with a model."""
    settings = Settings(model_store=str(filled_store.root), max_body_bytes=200_000, max_batch_rows=50)
    with running(settings) as client:
        yield client
