"""What people and generators read about the API: its description and a real signal.

The shapes are in `models`; what no shape can say, the WebSocket, is said here in words.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

DESCRIPTION: Final = """
Trading signals as the engine published them, read from Redis.

**WebSocket `/ws/signals`**: query `symbols=BTCUSDT,ETHUSDT` (all if left out), `since=<seq>` (everything
after it, then live, without gap or repetition), `outcomes=true`. Where keys are configured: header
`Authorization: Bearer` or `X-API-Key`, or the first message `{"action":"auth","key":"..."}` within 5 s;
never in the address.

| the server sends | when |
|---|---|
| `{"type":"snapshot","seq":n,"redis":"up","signals":[...]}` | first, and for symbols subscribed to later |
| `{"type":"gap","from":n,"to":m}` | before what follows: not all of these numbers are held any more |
| `{"type":"signal", ...}` | a signal, with all fields of `GET /signals/{symbol}` |
| `{"type":"outcome", ...}` | what became of one, if asked for |
| `{"type":"heartbeat","seq":n,"stream_time":ms}` | every 15 s |
| `{"type":"status","redis":"down"}` | Redis was lost (`"up"`: is back); what was missed follows in order |
| `{"type":"reset","seq":n}` | numbers began anew; a snapshot follows |
| `{"type":"error","message":"..."}` | a message was not understood; nothing changed |

The client may send `{"action":"subscribe","symbols":[...]}`, `{"action":"unsubscribe","symbols":[...]}`
(both also with `"outcomes":true`) and `{"action":"ping"}`. Close codes: 1001 the server ends, 1008 no key
or more than 20 messages a second, 1009 a message over 4096 bytes, 1013 too slow: connect again with `since`.
"""

SIGNAL: Final[dict[str, Any]] = {
    "id": "5c1f0e6a9b3d4c27",
    "seq": 4182,
    "symbol": "BTCUSDT",
    "interval": "5m",
    "time": 1795363500000,
    "time_iso": "2026-11-22T16:05:00Z",
    "horizon_end": 1795367100000,
    "horizon_end_iso": "2026-11-22T17:05:00Z",
    "valid_until": 1795363800000,
    "valid_until_iso": "2026-11-22T16:10:00Z",
    "published_at": 1795363500412,
    "direction": "LONG",
    "confidence": 58.4,
    "score": 31.7,
    "p_up": None,
    "p3": None,
    "position_size": 0.25,
    "entry": 98412.5,
    "stop_loss": 97985.0,
    "take_profit": 99267.5,
    "risk_reward": 2.0,
    "layers": {
        "technical": {
            "score": 38.0,
            "weight_raw": 45.0,
            "weight": 0.818,
            "coverage": 1.0,
            "reasons": [{"component": "trend", "points": 38.0, "text": "EMA 9 is above EMA 21, ADX 31"}],
        },
        "correlation": {
            "score": 3.5,
            "weight_raw": 10.0,
            "weight": 0.182,
            "coverage": 1.0,
            "reasons": [{"component": "sector", "points": 3.5, "text": "majors rise together"}],
        },
    },
    "degraded": ["uncalibrated"],
    "sources": {"binance": 1795363500000},
    "feed": "live",
    "regime": None,
    "models": {},
    "risk": None,
}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`, made once."""
    if not app.openapi_schema:
        made = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        # Put in afterwards: FastAPI drops every null, and in a signal null says something.
        made["components"]["schemas"]["Signal"]["example"] = SIGNAL
        app.openapi_schema = made
    return app.openapi_schema
