"""exchangeInfo: what the exchange says about its markets.

Field by field as the real answers have it; figures that no client of market data reads are plain constants.
"""

from __future__ import annotations

from typing import Any, Final

from dataflows.replay.instruments import Instrument
from dataflows.replay.limits import Limits
from dataflows.replay.venue import Listed

SPOT_ORDERS: Final = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
FUTURES_ORDERS: Final = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)
PERPETUAL_UNTIL: Final = 4_133_404_800_000


def rate(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def spot_info(now: int, limits: Limits, symbols: list[dict[str, Any]], simulated: bool) -> dict[str, Any]:
    """The body of /api/v3/exchangeInfo at `now` ms."""
    return {
        "timezone": "UTC",
        "serverTime": now,
        "simulated": simulated,
        "rateLimits": [
            rate("REQUEST_WEIGHT", "MINUTE", 1, limits.weight),
            rate("ORDERS", "SECOND", 10, 100),
            rate("ORDERS", "DAY", 1, 200_000),
            rate("RAW_REQUESTS", "MINUTE", 5, limits.raw_requests),
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    }


def futures_info(now: int, limits: Limits, symbols: list[dict[str, Any]], simulated: bool) -> dict[str, Any]:
    """The body of /fapi/v1/exchangeInfo at `now` ms."""
    return {
        "timezone": "UTC",
        "serverTime": now,
        "simulated": simulated,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            rate("REQUEST_WEIGHT", "MINUTE", 1, limits.weight),
            rate("ORDERS", "MINUTE", 1, 1200),
            rate("ORDERS", "SECOND", 10, 300),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": symbols,
    }


def padded(step: str) -> str:
    """A spot step has eight digits.

    >>> padded("0.01"), padded("1")
    ('0.01000000', '1.00000000')
    """
    return f"{float(step):.8f}"


def spot_symbol(listed: Listed, instrument: Instrument) -> dict[str, Any]:
    """One entry of `symbols` on spot."""
    return {
        "symbol": listed.symbol,
        "status": listed.status,
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(SPOT_ORDERS),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": spot_filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def spot_filters(instrument: Instrument) -> list[dict[str, Any]]:
    price, quantity = padded(instrument.price_step), padded(instrument.quantity_step)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": price, "maxPrice": "1000000.00000000", "tickSize": price},
        {"filterType": "LOT_SIZE", "minQty": quantity, "maxQty": "92141578.00000000", "stepSize": quantity},
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "1000000.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]


def futures_symbol(listed: Listed, instrument: Instrument) -> dict[str, Any]:
    """One entry of `symbols` on USDT-M futures: a perpetual contract."""
    return {
        "symbol": listed.symbol,
        "pair": listed.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_UNTIL,
        "onboardDate": listed.since,
        "status": listed.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": instrument.quote,
        "pricePrecision": instrument.price_decimals,
        "quantityPrecision": instrument.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "filters": futures_filters(instrument),
        "orderTypes": list(FUTURES_ORDERS),
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }


def futures_filters(instrument: Instrument) -> list[dict[str, Any]]:
    price, quantity = instrument.price_step, instrument.quantity_step
    return [
        {"filterType": "PRICE_FILTER", "minPrice": price, "maxPrice": "1000000", "tickSize": price},
        {"filterType": "LOT_SIZE", "minQty": quantity, "maxQty": "10000000", "stepSize": quantity},
        {"filterType": "MARKET_LOT_SIZE", "minQty": quantity, "maxQty": "1000000", "stepSize": quantity},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": "1.1500",
            "multiplierDown": "0.8500",
            "multiplierDecimal": "4",
        },
    ]
