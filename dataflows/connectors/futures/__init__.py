"""Futures data beside the candles: statistics by REST, mark prices and liquidations by stream."""

from dataflows.connectors.futures.source import FuturesSource

__all__ = ["FuturesSource"]
