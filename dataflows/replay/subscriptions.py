"""What a WebSocket client asked for: stream names, and the commands that change them.

A name that the exchange does not know is accepted and stays silent, as on the real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from dataflows.replay.candles import SPANS

METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
MOST_STREAMS: Final = 1024
NAME: Final = re.compile(
    r"(?P<symbol>[^@!]+)@(?:kline_(?P<interval>\w+)|(?P<kind>miniTicker|markPrice|forceOrder))(?P<fast>@1s)?"
)
IDENT: Final = re.compile(r"[0-9A-Za-z_-]{1,36}")
ALL: Final = re.compile(r"!(?P<kind>miniTicker|markPrice|forceOrder)@arr(?P<fast>@1s)?")


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream name, read: `kind` kline, miniTicker, markPrice or forceOrder; no `symbol` = all."""

    name: str
    kind: str
    symbol: str
    interval: str = ""
    fast: bool = False


def parse_stream(name: str) -> Stream | None:
    """The stream of that name; None if there is no such thing.

    >>> parse_stream("btcusdt@kline_5m")
    Stream(name='btcusdt@kline_5m', kind='kline', symbol='BTCUSDT', interval='5m', fast=False)
    >>> parse_stream("btcusdt@kline_7m") is None
    True
    """
    if found := ALL.fullmatch(name):
        return Stream(name, found["kind"], "", fast=found["fast"] is not None)
    found = NAME.fullmatch(name)
    if found is None or found["symbol"] != found["symbol"].lower():
        return None
    symbol, interval = found["symbol"].upper(), found["interval"]
    if interval is None:
        return Stream(name, found["kind"], symbol, fast=found["fast"] is not None)
    return Stream(name, "kline", symbol, interval) if interval in SPANS and not found["fast"] else None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client connected: `prefix` as `/market` on futures, `kind` ws or stream, the streams named."""

    prefix: str
    kind: str
    names: tuple[str, ...]


def parse_address(path: str, streams: str = "") -> Address:
    """The path of a WebSocket address and its `streams` parameter, read.

    >>> parse_address("/market/stream", "btcusdt@kline_1m/btcusdt@markPrice")
    Address(prefix='/market', kind='stream', names=('btcusdt@kline_1m', 'btcusdt@markPrice'))
    >>> parse_address("/ws/btcusdt@kline_1m").names
    ('btcusdt@kline_1m',)
    """
    parts = path.strip("/").split("/")
    prefix = f"/{parts.pop(0)}" if parts[0] in ("market", "public", "private") else ""
    kind = parts[0] if parts else ""
    names = streams.split("/") if kind == "stream" else parts[1:]
    return Address(prefix, kind, tuple(filter(None, names)))


class Subscriptions:
    """One connection's streams, in the order asked for, and its properties.

    >>> mine = Subscriptions(combined=False)
    >>> mine.command(b'{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}')
    {'result': None, 'id': 1}
    >>> mine.command(b'{"method":"LIST_SUBSCRIPTIONS","id":"x"}')
    {'result': ['btcusdt@kline_1m'], 'id': 'x'}
    """

    def __init__(self, *, combined: bool, micro: bool = False, most: int = MOST_STREAMS) -> None:
        self.combined = combined
        self.micro = micro
        self.most = most
        self.streams: dict[str, Stream | None] = {}

    def subscribe(self, names: Iterable[str]) -> bool:
        """Add streams; False, and nothing added, where they would be more than a connection may have."""
        new = dict.fromkeys(name for name in names if name not in self.streams)
        if len(self.streams) + len(new) > self.most:
            return False
        self.streams |= {name: parse_stream(name) for name in new}
        return True

    def command(self, text: bytes | str) -> dict[str, Any]:
        """Obey one client message and answer it."""
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return failure(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}")
        if not isinstance(body, dict):
            return failure(2, "Invalid request: request must be an object")
        ident = body.get("id")
        if not known_id(ident):
            return failure(
                2, "Invalid request: request ID must be an unsigned integer, a short string or null"
            )
        if "method" not in body:
            return failure(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
        if body["method"] not in METHODS:
            options = ", ".join(f"`{name}`" for name in METHODS)
            return failure(
                2, f"Invalid request: unknown variant `{body['method']}`, expected one of {options}"
            )
        return self._obey(body["method"], body.get("params", []), ident)

    def _obey(self, method: str, params: Any, ident: Any) -> dict[str, Any]:
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self.streams), "id": ident}
        if not isinstance(params, list):
            return failure(2, "Invalid request: params must be an array", ident)
        if method.endswith("PROPERTY"):
            return self._property(method, params, ident)
        if not all(isinstance(name, str) for name in params):
            return failure(2, "Invalid request: stream name must be a string", ident)
        if method == "UNSUBSCRIBE":
            for name in params:
                self.streams.pop(name, None)
        elif not self.subscribe(params):
            return failure(2, f"Invalid request: more than {self.most} streams on one connection", ident)
        return {"result": None, "id": ident}

    def _property(self, method: str, params: list[Any], ident: Any) -> dict[str, Any]:
        if not params or params[0] != "combined":
            return failure(0, "Unknown property", ident)
        if method == "GET_PROPERTY":
            return {"result": self.combined, "id": ident}
        if len(params) < 2 or not isinstance(params[1], bool):
            return failure(1, "Invalid value type: expected Boolean", ident)
        self.combined = params[1]
        return {"result": None, "id": ident}


def known_id(ident: object) -> bool:
    if isinstance(ident, str):
        return IDENT.fullmatch(ident) is not None
    return ident is None or (isinstance(ident, int) and not isinstance(ident, bool))


def failure(code: int, text: str, ident: object = None) -> dict[str, Any]:
    """An error answer; the id is left out where none was read."""
    answer: dict[str, Any] = {"code": code, "msg": text}
    return answer if ident is None else {**answer, "id": ident}
