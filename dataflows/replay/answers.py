"""Requests and answers of the exchange's REST side, and the parameters read from a query.

A parameter that cannot be used raises `RequestError` with the exchange's own code and words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from dataflows.replay.candles import SPANS
from engine.errors import EngineError

JSON: Final = "application/json;charset=UTF-8"
NUMBER: Final = re.compile(r"[0-9]{1,20}")
SYMBOL: Final = re.compile(r"[^\s\[\]\",]{1,40}")
MICROSECONDS_FROM: Final = 100_000_000_000_000
"""Times at and above this many are microseconds: as milliseconds they would lie past the year 5000."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names in lower case, the query decoded, the last of equal names wins."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def micro(self) -> bool:
        return self.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `delay` seconds are waited before it."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = JSON
    delay: float = 0.0

    @classmethod
    def of(cls, body: Any, status: int = 200) -> Answer:
        return cls(status, orjson.dumps(body))

    @classmethod
    def error(cls, status: int, code: int, text: str) -> Answer:
        return cls.of({"code": code, "msg": text}, status)


class RequestError(EngineError):
    """A request the exchange refuses; `answer` says so in its words."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.answer = Answer.error(status, code, text)


def invalid_symbol() -> RequestError:
    return RequestError(-1121, "Invalid symbol.")


def mandatory(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "")
    if not value:
        raise RequestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def symbol(query: Mapping[str, str]) -> str:
    value = mandatory(query, "symbol")
    if not SYMBOL.fullmatch(value):
        raise illegal("symbol", "^[\\w\\-._&&[^a-z]]{1,50}$")
    return value


def illegal(name: str, pattern: str) -> RequestError:
    return RequestError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")


def interval(query: Mapping[str, str]) -> str:
    value = mandatory(query, "interval")
    if value not in SPANS and value != "1M":
        raise RequestError(-1120, "Invalid interval.")
    return value


def number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None or value == "":
        return None
    if not NUMBER.fullmatch(value):
        raise illegal(name, "^[0-9]{1,20}$")
    return int(value)


def moment(query: Mapping[str, str], name: str) -> int | None:
    """A time in ms, given in ms or microseconds."""
    value = number(query, name)
    return value // 1000 if value is not None and value >= MICROSECONDS_FROM else value


def limit(query: Mapping[str, str], default: int, most: int, *, strict: bool) -> int:
    """How many rows: too many are cut to `most`, or refused where the exchange is strict."""
    value = number(query, "limit")
    if value is None:
        return default
    if value < 1 or (strict and value > most):
        raise RequestError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(value, most)


def names(query: Mapping[str, str]) -> list[str] | None:
    """The symbols of `symbol` or `symbols`; None where neither was sent."""
    if "symbol" in query and "symbols" in query:
        raise RequestError(-1128, "Combination of optional parameters invalid.")
    if "symbol" in query:
        return [symbol(query)]
    if "symbols" not in query:
        return None
    try:
        found = orjson.loads(query["symbols"])
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found) or not found:
        raise illegal("symbols", '^\\[("[^a-z]{1,50}"(,"[^a-z]{1,50}"){0,}){0,1}\\]$')
    return found
