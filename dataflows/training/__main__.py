"""`python -m dataflows.training`: train beside a running flow until told to stop.

Exit codes as those of `signal-engine`: 2 settings, 4 a folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from dataflows.stopping import stopping
from dataflows.training.child import be_nice
from dataflows.training.live import Live
from dataflows.training.process import TIMEOUT, Training
from engine.errors import SettingsError, StorageError
from engine.settings import Settings, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; 0 after a clean end."""
    parser = argparse.ArgumentParser(
        prog="python -m dataflows.training", description="Train the models beside a running flow."
    )
    default = os.environ.get("SIGNAL_ENGINE_CONFIG", "config.yaml")
    parser.add_argument("--config", default=default, help="the settings file (config.yaml)")
    parser.add_argument("--profile", choices=("full", "demo"), default="full", help="how much is trained on")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds one training may take")
    told = parser.parse_args(arguments)
    be_nice()
    with stopping() as stop:
        try:
            settings = load(told.config)
            # The child is to find the same settings.
            os.environ["SIGNAL_ENGINE_CONFIG"] = os.path.abspath(told.config)
            log_to_stderr(settings.logging.level)
            training = Training(
                settings, profile=told.profile, timeout=told.timeout, judge=judge_of(settings)
            )
        except (SettingsError, StorageError) as error:
            sys.stderr.write(f"{error}\n")
            return 2 if isinstance(error, SettingsError) else 4
        training.run(stop)
    return 0


def judge_of(settings: Settings) -> Live:
    """Who reads in the engine's own record what its models were worth."""
    segments = {symbol: settings.segment_of(symbol) for symbol in settings.all_symbols}
    return Live(settings.storage.folder, segments, settings.thresholds)


def log_to_stderr(level: str) -> None:
    """A line for what begins, ends or fails; the exchange's every answer is not told."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
