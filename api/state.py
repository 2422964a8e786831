"""What the relay is made of, put together once and handed to every endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from time import time

from api.board import Board
from api.health import View
from api.metrics import Figures
from api.reader import Reader
from api.stream import Hub
from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class State:
    """One relay; what its endpoints look at."""

    settings: Settings
    board: Board
    hub: Hub
    reader: Reader
    figures: Figures

    @property
    def view(self) -> View:
        """The board as of now."""
        settings = self.settings
        return View(self.board, int(time() * 1000), settings.decide.interval, settings.gather.grace)
