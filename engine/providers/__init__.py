"""The sources of numbers beside candles: a provider a file, registered here by a line.

Pure: `dataflows.connectors` asks, these say what and read the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engine.providers.alternative_me import AlternativeMe
from engine.providers.artemis import Artemis
from engine.providers.base import Promise, Provider, Request
from engine.providers.binance import Binance
from engine.providers.coingecko import CoinGecko
from engine.providers.coinmetrics import CoinMetrics
from engine.providers.cryptoquant import CryptoQuant
from engine.providers.defillama import DefiLlama
from engine.providers.glassnode import Glassnode
from engine.providers.intotheblock import IntoTheBlock
from engine.providers.kaiko import Kaiko
from engine.providers.lunarcrush import LunarCrush
from engine.providers.messari import Messari
from engine.providers.nansen import Nansen
from engine.providers.santiment import Santiment
from engine.providers.thetie import TheTie
from engine.providers.token_terminal import TokenTerminal

__all__ = ["FUTURES", "PROMISES", "PROVIDERS", "Promise", "Provider", "Request"]

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        one.name: one
        for one in (
            Glassnode(),
            Santiment(),
            CryptoQuant(),
            Nansen(),
            Kaiko(),
            CoinMetrics(),
            Messari(),
            LunarCrush(),
            TokenTerminal(),
            IntoTheBlock(),
            Artemis(),
            TheTie(),
            DefiLlama(),
            AlternativeMe(),
            CoinGecko(),
        )
    }
)
"""By name, in the order of `/providers/status`."""

FUTURES: Final = Binance()
"""The exchange's own statistics of its contracts."""

PROMISES: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        f"{one.name}.{metric}": promise
        for one in (FUTURES, *PROVIDERS.values())
        for metric, promise in one.metrics.items()
        if not promise.gone
    }
)
"""By full name, every metric that may come."""
