"""A backfill that kills itself: `python -m tests.dataflows.backfill.killed WHEN COUNT -- arguments`.

WHEN is `before` or `after` the COUNT-th file takes its place; COUNT 0 lets it run to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import typer

from dataflows.backfill.command import backfill


def arm(when: str, count: int) -> None:
    """End this process, as no handler can prevent, at the `count`-th replacement."""
    replace, seen = os.replace, 0

    def counted(source: Any, target: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted  # type: ignore[assignment]


def main() -> None:
    split = sys.argv.index("--")
    when, count = sys.argv[1:split]
    arm(when, int(count))
    app = typer.Typer()
    app.command()(backfill)
    app(sys.argv[split + 1 :])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))
    main()
