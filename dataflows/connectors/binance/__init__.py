"""Binance, spot and USDT-M: what it says becomes the totally ordered journal everything else is made of."""
