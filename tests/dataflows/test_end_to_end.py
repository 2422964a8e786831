"""Exchange, flow, Redis and API as a user has them: what goes wrong is named, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.simulate import Simulated
from engine.layers import LAYERS
from engine.records import INTERVALS, Candle
from tests.dataflows.runs import Engine, engine, playing, until
from tests.dataflows.test_survival import free_port

START = 1_760_000_400_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "DOGEUSDT")


class Site:
    """A running engine and its API; the market runs a hundred times as fast as ours."""

    def __init__(self, made: Engine, port: int) -> None:
        self.made = made
        self.url = f"http://127.0.0.1:{port}"
        self.stream = f"ws://127.0.0.1:{port}/ws/signals"
        self.client = httpx.Client(base_url=self.url, timeout=5, trust_env=False)

    def health(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.get("/health").json()
        except httpx.TransportError:
            return {"status": "no API yet", "reasons": []}
        return found

    def healthy(self) -> bool:
        return bool(self.health()["status"] == "healthy")

    def says(self, words: str) -> bool:
        """Whether /health names something."""
        found = self.health()
        return found["status"] != "healthy" and any(words in reason for reason in found["reasons"])

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.made.exchange.url}/_control/faults", json=fault).raise_for_status()

    def mend(self) -> None:
        httpx.delete(f"{self.made.exchange.url}/_control/faults").raise_for_status()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_port()
    exchange = ReplayExchange("spot", Simulated(SYMBOLS), START, speed=100.0)
    knobs: dict[str, Any] = {
        "intervals": ("1m", "5m", "15m"),
        "environ": {"SIGNAL_ENGINE_API__PORT": str(port), "SIGNAL_ENGINE_BINANCE__SILENT_AFTER": "120"},
    }
    with (
        playing(exchange),
        engine(tmp_path_factory.mktemp("site"), exchange, SYMBOLS, **knobs) as made,
    ):
        made.start(("-m", "api.server"))
        made.start()
        running = Site(made, port)
        until(running.healthy, "a healthy engine", 60)
        yield running
        running.client.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"name": "freeze", "symbol": "ETHUSDT"}, "ETHUSDT"),
        ({"name": "silence"}, "silent"),
        ({"name": "status", "status": 418, "retry_after": 2, "path": "/api/v3/"}, "418"),
        ({"name": "status", "status": 451, "path": "/api/v3/"}, "451"),
    ],
    ids=["a frozen symbol", "silence", "a ban", "a refusal"],
)
def test_a_fault_is_named_and_gone_when_it_is_mended(site: Site, fault: dict[str, Any], words: str) -> None:
    site.fault(**fault)
    if fault["name"] == "status":
        site.fault(name="missing_close", at=site.made.exchange.clock.now(), until=1 << 60)
    until(lambda: site.says(words), f"{words} in /health, which says {site.health()}", 40)
    site.mend()

    until(site.healthy, f"a healthy engine again, not {site.health()}", 40)


def test_connections_cut_and_refused_are_named_and_gone_when_mended(site: Site) -> None:
    site.fault(name="refuse")
    site.fault(name="drop")
    until(lambda: site.says("connection"), "the lost connection in /health", 40)
    site.mend()

    until(site.healthy, f"a healthy engine again, not {site.health()}", 40)


def test_every_signal_reaches_a_client_once_and_in_order(site: Site) -> None:
    numbers: list[int] = []
    with connect(site.stream, close_timeout=1, proxy=None) as socket:
        first = json.loads(socket.recv(10))
        while len(numbers) < 12:
            message = json.loads(socket.recv(30))
            if message["type"] == "signal":
                numbers.append(message["seq"])

    assert first["type"] == "snapshot"
    assert {signal["symbol"] for signal in first["signals"]} <= set(SYMBOLS)
    assert numbers == sorted(set(numbers))
    assert numbers[0] > first["seq"]


def test_one_symbol_is_answered_and_an_unknown_one_is_told_the_known_ones(site: Site) -> None:
    found = site.client.get("/signals/BTCUSDT")
    missing = site.client.get("/signals/NOPEUSDT")

    assert found.status_code == 200
    assert set(found.json()["layers"]) == set(LAYERS)
    assert found.json()["feed"] == "simulated"
    assert missing.status_code == 404
    assert all(symbol in missing.text for symbol in SYMBOLS)


def test_after_all_that_every_close_was_journaled_once(site: Site) -> None:
    closes = journaled(site.made.folder)

    for (symbol, interval), times in closes.items():
        step = INTERVALS[interval]
        assert times == list(range(times[0], times[-1] + 1, step)), f"{symbol} {interval}"
    assert len(closes) == len(SYMBOLS) * 3


def journaled(folder: Path) -> dict[tuple[str, str], list[int]]:
    """The closes of every market in the order they were journaled."""
    journal = Journal(folder, readonly=True)
    found: dict[tuple[str, str], list[int]] = {}
    for _, record in journal.read(0, limit=1_000_000):
        if isinstance(record, Candle):
            found.setdefault((record.symbol, record.interval), []).append(record.time)
    journal.close()
    return found
