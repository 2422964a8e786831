"""The relay's figures as Prometheus reads them.

Counted where they happen, collected when asked; no global registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.board import KINDS, Board
from api.health import View
from api.providers import providers
from api.reader import Reader
from api.stream import Hub

PREFIX: Final = "signal_engine_api_"


class Figures:
    """Everything countable about one relay."""

    def __init__(self, board: Board, hub: Hub, reader: Reader) -> None:
        self.board = board
        self.hub = hub
        self.reader = reader

    def text(self) -> bytes:
        """All of them in the text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        clients = tuple(self.hub.clients)
        yield gauge("clients", "WebSocket clients connected", len(clients))
        longest = max((len(client.waiting) for client in clients), default=0)
        yield gauge("longest_queue", "messages waiting for the slowest client", longest)
        yield CounterMetricFamily(PREFIX + "sent", "messages sent to WebSocket clients", self.hub.sent)
        closed = CounterMetricFamily(
            PREFIX + "closed", "WebSocket clients gone, by close code", labels=["code"]
        )
        for code, count in sorted(self.hub.closed.items()):
            closed.add_metric([str(code)], count)
        yield closed
        yield gauge("redis_up", "1 while Redis answers", int(self.board.redis == "up"))
        yield CounterMetricFamily(
            PREFIX + "redis_connects", "connections made to Redis", self.reader.connects
        )
        yield CounterMetricFamily(PREFIX + "corrupt", "unreadable entries left out", self.board.corrupt)
        yield from self.progress()
        yield from self.sources()

    def sources(self) -> Iterator[Metric]:
        """How every source of data is."""
        states = GaugeMetricFamily(
            PREFIX + "source", "1 for the state that a source of data is in", labels=["source", "state"]
        )
        for one in providers(View(self.board, int(time() * 1000), "5m", 0)).providers:
            states.add_metric([one.name, one.state], 1)
        yield states

    def progress(self) -> Iterator[Metric]:
        """How far the logs are, and how old each symbol's newest signal is."""
        yield gauge("last_seq", "the newest sequence number read", self.board.head)
        held = GaugeMetricFamily(
            PREFIX + "log_entries", "entries held for clients that resume", labels=["log"]
        )
        for kind in KINDS:
            held.add_metric([kind], len(self.board.logs[kind].entries))
        yield held
        view = View(self.board, int(time() * 1000), "5m", 0)
        text = "seconds of stream time since the close of the newest signal"
        ages = GaugeMetricFamily(PREFIX + "signal_age_seconds", text, labels=["symbol"])
        for symbol, signal in sorted(self.board.latest.items()):
            age = view.age(signal.time)
            if age is not None:
                ages.add_metric([symbol], age)
        yield ages


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value)
