"""What the dataflow is wired to: where records come from, who answers for a model, where signals go.

The flow between them is the same for the live exchange, a replay and a backtest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bytewax.inputs import Source
from bytewax.outputs import Sink

from dataflows.connectors.activations import Served
from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.feed import BinanceFeed
from dataflows.connectors.inference import Asked, Shelved, Unshelved
from dataflows.connectors.ingest import Ingest
from dataflows.connectors.journal import Journal
from dataflows.connectors.record import RecordSink
from dataflows.connectors.sources import require_mapped, sources
from dataflows.recovery import is_primary
from engine.models import MODELS
from engine.settings import Settings


@dataclass(frozen=True)
class World:
    """A source of (key, record) pairs and a sink of (symbol, Signal | Outcome) and shown records.

    `predict` answers by the name of a model who is asked for its predictions. So many moments of one symbol
    may be `pending` there before its worker waits; None, as live: no worker ever waits.
    """

    ingest: Source[tuple[str, Any]]
    record: Sink[tuple[str, Any]]
    predict: Callable[[str], Asked] = Unshelved
    pending: int | None = None


def live(settings: Settings) -> World:
    """The exchange as configured, and the record that publishes to Redis.

    Raises `SettingsError` for a metric that nothing says how to read.
    """
    require_mapped(settings)

    async def feed(journal: Journal, mailbox: Mailbox) -> None:
        shelves = [Served.boosted(settings, MODELS["boosted"].schema)]
        beside = sources(settings, os.environ, journal.headlines)
        await BinanceFeed(settings, journal, mailbox, shelves=shelves, sources=beside).run()

    storage = settings.storage
    primary = is_primary(sys.argv[1:], os.environ)
    return World(
        Ingest(storage.folder, feed, primary=primary, keep_days=storage.journal_days),
        RecordSink(settings, primary=primary),
        Shelved(settings.shelf),
    )
