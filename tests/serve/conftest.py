"""A server in this process: one model, loaded once, before which every test puts limits and rules of its own."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import cratecli
from cratecli.model.unroll import WhiteBox
from cratecli.serve.app import make_app
from cratecli.serve.folders import Folders
from cratecli.serve.guards import Rules
from cratecli.serve.limits import Limits
from cratecli.serve.service import Service
from tests.support.photos import photo

ADDRESS = "http://127.0.0.1:8000"
QUICK = {"sizes": "64", "refine": "none", "layers": "-1"}


@pytest.fixture(scope="session")
def model() -> WhiteBox:
    return cratecli.load_model()


@pytest.fixture(scope="session")
def sent() -> bytes:
    """Give the bytes of a photo, a PNG."""
    stream = io.BytesIO()
    Image.fromarray(photo(36, 48)).save(stream, "PNG")
    return stream.getvalue()


Serve = Callable[..., TestClient]


@pytest.fixture
def notes() -> list[str]:
    """Hold what servers of the test noted."""
    return []


@pytest.fixture
def serve(model: WhiteBox, notes: list[str]) -> Iterator[Serve]:
    """Start servers of limits, rules and folders, and give clients of theirs; they end with the test."""
    with ExitStack() as ending:

        def start(
            limits: Limits | None = None,
            rules: Rules | None = None,
            folders: Folders | None = None,
            **client: Any,
        ) -> TestClient:
            service = Service(model, limits or Limits(), folders or Folders(), notes.append)
            app = make_app(service, rules or Rules())
            return ending.enter_context(TestClient(app, ADDRESS, **client))

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """Give a client of a server as it is by default."""
    return serve()
