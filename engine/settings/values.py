"""What a single setting may be: symbols, intervals, addresses, weights.

A check answers the value as it is kept, or says what is allowed and what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, SecretStr

from engine.records import INTERVALS
from engine.settings.secrets import ApiKeys, redis_address, without_credentials
from engine.symbols import RENAMED


def pair(text: str) -> str:
    """A symbol as signals call it.

    >>> pair("MATICUSDT")
    'POLUSDT'
    >>> pair("btcusdt")
    Traceback (most recent call last):
    ValueError: 'btcusdt' is not a symbol; did you mean 'BTCUSDT'?
    """
    tidy = "".join(text.split()).upper()
    if not tidy.removesuffix("USDT") or not tidy.endswith("USDT"):
        raise ValueError(f"{text!r} is not a symbol; it must be a USDT pair such as BTCUSDT")
    if tidy != text:
        raise ValueError(f"{text!r} is not a symbol; did you mean {tidy!r}?")
    return RENAMED.get(text, text)


def interval(text: str) -> str:
    if text not in INTERVALS:
        raise ValueError(f"must be one of {', '.join(INTERVALS)}; was {text!r}")
    return text


def shortest_first(intervals: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(intervals), key=INTERVALS.__getitem__))


def address(*schemes: str) -> Callable[[str], str]:
    """The check that a text is a URL of one of `schemes`, with a host and without credentials."""
    allowed = " or ".join(f"{scheme}://host" for scheme in schemes)

    def check(text: str) -> str:
        parts = urlsplit(text)
        # Asking for the port is what makes urllib look at it.
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
            raise ValueError(f"must be {allowed}; was {without_credentials(text)!r}")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user or password")
        return text.rstrip("/")

    return check


def without_path(text: str) -> str:
    """A browser's origin ends with its host: one with a path would match nothing."""
    if urlsplit(text).path:
        raise ValueError(f"must end after the host; was {text!r}")
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Folder = Annotated[Path, Field(strict=False), AfterValidator(Path.expanduser)]
Interval = Annotated[str, AfterValidator(interval)]
Rest = Annotated[str, AfterValidator(address("https", "http"))]
Stream = Annotated[str, AfterValidator(address("wss", "ws"))]
Origin = Annotated[str, AfterValidator(address("https", "http")), AfterValidator(without_path)]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
MetricName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
SegmentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]
# YAML knows lists only; strictness is for what is inside.
Pairs = Annotated[tuple[Annotated[str, AfterValidator(pair)], ...], Field(strict=False)]
Intervals = Annotated[tuple[Interval, ...], Field(strict=False, min_length=1), AfterValidator(shortest_first)]
Origins = Annotated[tuple[Origin, ...], Field(strict=False)]
TechnicalWeight = Annotated[float, Field(ge=30, le=45)]
CorrelationWeight = Annotated[float, Field(ge=10, le=15)]
OnchainWeight = Annotated[float, Field(ge=15, le=25)]
SentimentWeight = Annotated[float, Field(ge=10, le=15)]
MlWeight = Annotated[float, Field(ge=35, le=35)]
Share = Annotated[float, Field(gt=0, le=1)]
RedisUrl = Annotated[SecretStr, AfterValidator(redis_address)]
Keys = Annotated[ApiKeys, PlainValidator(ApiKeys.read)]
