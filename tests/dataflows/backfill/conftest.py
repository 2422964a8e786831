"""One exchange and one folder a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflows.backfill.rig import Rig, rig


@pytest.fixture
def spot(tmp_path: Path) -> Iterator[Rig]:
    """Simulated spot BTC."""
    with rig(tmp_path / "history") as made:
        yield made


@pytest.fixture
def um(tmp_path: Path) -> Iterator[Rig]:
    """Simulated BTC and PEPE contracts."""
    with rig(tmp_path / "history", "um", ("BTCUSDT", "1000PEPEUSDT")) as made:
        yield made
