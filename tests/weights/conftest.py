"""What tests of fetching share: a server of their own, and a cache nobody else uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weights.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve what a test says."""
    with serving() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache folder of its own, and one for the Hub's client."""
    monkeypatch.setenv("CRATE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tmp_path / "cache"
