"""The futures data beside the candles."""
