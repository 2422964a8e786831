"""Trainings nobody did, put on shelves in a folder of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.models.manifest import Facts
from engine.models.shelf import Shelf

HOUR = 3_600_000
MIDNIGHT = 1_700_006_400_000
SCHEMA = Facts.of().schema
ROOT = Path(__file__).parents[3]


def after(hours: int, **changes: Any) -> Facts:
    """Facts of a training whose data end so many hours after midnight."""
    return Facts.of(MIDNIGHT + hours * HOUR, **changes)


def two(folder: Path) -> None:
    """What a model may save."""
    (folder / "majors.side.json").write_text('{"trees": [1, 2, 3]}')
    (folder / "novelty.parquet").write_bytes(b"PAR1 any bytes PAR1")


def text(content: str, name: str = "a.json") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(content)

    return write


def hidden(shelf: Shelf) -> set[str]:
    return {name for name in os.listdir(shelf.folder) if name.startswith(".")} - {".lock"}


def three(shelf: Shelf) -> list[str]:
    """Versions of three days, the last one current."""
    names = [shelf.add(two, after(24 * day)).version for day in range(3)]
    shelf.point(names[-1])
    return names


def flip(path: Path, place: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
