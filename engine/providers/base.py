"""What a provider is: which requests to make and how to read the answers. Pure: no socket, no clock, no key.

A provider is a file of its own and a line in `PROVIDERS`; everything a poll needs beside that is the polite
client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

from engine.errors import NotServed, RateLimited, Refused, SourceError
from engine.records import Frozen

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR

PERMANENT: Final = frozenset({401, 402, 403, 451})
"""Statuses that asking again will not change: no key, no plan, no right, no country."""

PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

Of = Literal["asset", "market"]


@dataclass(frozen=True, slots=True)
class Promise(Frozen):
    """One metric of a provider: its unit in words, whom it is of, and since when it is gone, if it is.

    A metric that the specification lists and the provider no longer serves is `gone`: the text says why and
    what takes its place; it is never asked for.
    """

    unit: str
    of: Of = "asset"
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Request(Frozen):
    """One question: a path under the provider's base URL, or under its other `host` of that name.

    With a `body` it is a POST of JSON. `metric` and `asset` are what is asked for, for `parse` to know; an
    answer that tells of many has them empty. `cost` is in the unit the provider bills. `every` is in seconds
    of stream time, for what need not be asked at each poll; None = the provider's own. `at` is the stream
    time at which it was made, for answers that tell none, ms UTC.
    """

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    metric: str = ""
    asset: str = ""
    host: str = ""
    cost: float = 1.0
    every: float | None = None
    at: int = 0


class Provider(Protocol):
    """One source of numbers. `metrics` are its promises by name, without the provider's own name before it.

    `key` is the environment variable of its key, "" where it has none; `needs_key` whether it is off without.
    """

    name: str
    key: str
    needs_key: bool
    metrics: Mapping[str, Promise]

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Headers of every request, with the key where it travels there."""

    def query(self, key: str | None) -> Mapping[str, str]:
        """Query parameters of every request, with the key where it travels there."""

    def requests(self, assets: Iterable[str], now: int) -> Iterable[Request]:
        """What to ask at `now` (stream time, ms UTC) about these assets, the most wanted first."""

    def parse(self, request: Request, body: Any) -> Iterable[Any]:
        """The `Metric`s of a decoded answer, oldest first, `learned` 0.

        Raises `Unreadable` for an answer of another shape, and for an error that came with status 200
        `Refused`, `RateLimited`, `NotServed` or `SourceError`.
        """

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """What an answer with another status than 2xx means; `body` is decoded JSON, or text."""

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """What is left of the quota by the answer's headers (lower case), None where they do not say."""


@runtime_checkable
class Deriving(Protocol):
    """A provider some of whose numbers follow from several answers together."""

    def derive(self, metrics: Iterable[Any]) -> Iterable[Any]:
        """The `Metric`s that follow from those of the last answer to each question."""


def fault_of(name: str, status: int, headers: Mapping[str, str], text: str) -> SourceError:
    """What a status means where a provider has no words of its own; `text` is shown, so no key may be in it.

    >>> type(fault_of("glassnode", 404, {}, "unknown metric")).__name__
    'NotServed'
    """
    told = f"{name}: {status} {text[:120]}".rstrip()
    if status == 429:
        return RateLimited(told, retry_after(headers))
    if status in PERMANENT:
        return Refused(told, status)
    if status in PASSING or status >= 500:
        return SourceError(told)
    return NotServed(told)


def retry_after(headers: Mapping[str, str], otherwise: float = 60.0) -> float:
    """Seconds to wait by the Retry-After header, at least one; `otherwise` where it does not say.

    >>> retry_after({"retry-after": "17"}), retry_after({})
    (17.0, 60.0)
    """
    try:
        return max(1.0, float(headers.get("retry-after", otherwise)))
    except ValueError:
        return otherwise
