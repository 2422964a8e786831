"""A shelf for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.models.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty one, in a folder that is not there yet."""
    return Shelf(tmp_path / "shelf", "boosted")
