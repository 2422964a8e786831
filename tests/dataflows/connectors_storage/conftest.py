"""A real Valkey for the storage tests, started once and flushed for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from dataflows.connectors.redis import connect, open_client, stop


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running server."""
    folder = tmp_path_factory.mktemp("server")
    yield connect(None, folder).url
    stop(folder)


@pytest.fixture
def redis(server: str) -> Iterator[Redis]:
    """A client of an empty server."""
    client = open_client(server)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder whose embedded server, if a test starts one, is ended with it."""
    yield tmp_path
    stop(tmp_path)
