"""The training process with a trainer that is none: `python -m tests.dataflows.training.beside FOLDER`.

What it trains on and with comes from the environment, as for the real one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflows.stopping import stopping
from dataflows.training.child import Order
from dataflows.training.process import Training
from engine.settings import load


class Content:
    """A judge whose figures are always the same."""

    def look(self, most: int | None = None) -> dict[str, Any]:
        return {"boosted": {"brier": 0.25}}

    def requests(self) -> list[str]:
        return []


def main(folder: Path) -> None:
    def command(order: Order) -> Sequence[str]:
        trainer = (sys.executable, "-m", "tests.dataflows.training.trainer")
        return (*trainer, str(folder), str(order.until), str(order.shelf), order.profile)

    logging.basicConfig(level="INFO")
    with stopping() as stop:
        training = Training(load("config.yaml"), command=command, profile="demo", timeout=60, judge=Content())
        training.run(stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
