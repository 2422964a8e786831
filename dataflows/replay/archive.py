"""The exchange's archive of whole months and days: zips of CSV with their checksums, as published.

Built of the venue's own candles and statistics, with the archive's habits: microseconds on spot from 2025 on,
a header on futures, a day that comes late, a month that comes on the first Monday after it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.candles import DAY, MINUTE, SPANS
from dataflows.replay.frames import Writers
from dataflows.replay.rest import Route, fixed
from dataflows.replay.venue import Venue

PREFIX: Final = "/data/"
ADDRESS: Final = re.compile(
    r"/data/(spot|futures/um)/(monthly|daily)/(klines|fundingRate|metrics)/(?P<symbol>[^/]+)/"
    r"(?:(?P<interval>[^/]+)/)?(?P<name>[^/]+)-(?P<stamp>\d{4}-\d\d(?:-\d\d)?)\.zip(?P<sum>\.CHECKSUM)?"
)
LATE: Final = DAY
"""A day is published this long after its end: the newest two, today's among them, are never there."""

MICROSECONDS_FROM: Final = 1_735_689_600_000
"""2025-01-01."""

RELABELLED: Final = 1_782_345_600_000
"""2026-06-25: from then on a metric is stamped at the beginning of its five minutes, not at their end."""

KLINES: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore\n"
)
FUNDING: Final = "calc_time,funding_interval_hours,last_funding_rate\n"
METRICS: Final = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)
RATIOS: Final = ("top_accounts", "top_positions", "accounts", "taker")
MISSING: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'


class Archive:
    """What the archive of one market holds at a moment."""

    def __init__(self, venue: Venue, writers: Writers) -> None:
        self._venue = venue
        self._writers = writers

    def routes(self) -> dict[str, Route]:
        """Everything below `PREFIX`; it weighs nothing: the archive is another house."""
        return {PREFIX: Route(self.answer, fixed(0), "")}

    def answer(self, request: Request, now: int) -> Answer:
        found = ADDRESS.fullmatch(request.path)
        text = self._text(found, now) if found else ""
        if found is None or not text:
            return Answer(404, MISSING, kind="application/xml")
        name = request.path.rsplit("/", 1)[-1].removesuffix(".CHECKSUM")
        body = packed(name.replace(".zip", ".csv"), text)
        if found["sum"]:
            return Answer(200, f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode(), kind="text/plain")
        return Answer(200, body, kind="application/zip")

    def _text(self, found: re.Match[str], now: int) -> str:
        """The CSV at an address; empty where the archive has nothing there."""
        root, period, kind, symbol = found.groups()[:4]
        begin, end = bounds(found["stamp"])
        named = f"{symbol}-{found['interval'] or kind}" == found["name"]
        matching = (len(found["stamp"]) == 10) == (period == "daily")
        if not named or not matching or now < published(begin, end):
            return ""
        if (root == "spot") != (self._venue.market == "spot") or symbol not in self._venue.source.symbols:
            return ""
        if kind == "klines":
            return self._klines(symbol, found["interval"] or "", begin, end)
        if root == "spot" or (kind == "fundingRate") != (period == "monthly"):
            return ""
        return self._funding(symbol, begin, end) if kind == "fundingRate" else self._metrics(symbol, begin)

    def _klines(self, symbol: str, interval: str, begin: int, end: int) -> str:
        standing = self._venue.standing(symbol)
        if standing is None or interval not in SPANS:
            return ""
        candles = self._venue.scheduled(standing, interval, begin, end)
        if not len(candles):
            return ""
        spot = self._venue.market == "spot"
        rows = self._writers.of(symbol).rows(candles, SPANS[interval], spot and begin >= MICROSECONDS_FROM)
        return ("" if spot else KLINES) + rows.strip("[]").replace("],[", "\n").replace('"', "") + "\n"

    def _funding(self, symbol: str, begin: int, end: int) -> str:
        rows = self._venue.source.funding(symbol, begin, end)
        lines = [f"{time},8,{rate:.8f}\n" for time, rate, _ in rows]
        return FUNDING + "".join(lines) if lines else ""

    def _metrics(self, symbol: str, begin: int) -> str:
        """A day: from its first five minutes' end to its own end."""
        first, last = begin + 5 * MINUTE, begin + DAY + 1
        source, early = self._venue.source, 5 * MINUTE if begin >= RELABELLED else 0
        ratios = [dict(source.ratio(kind, symbol, first, last)) for kind in RATIOS]
        lines = [
            f"{label(time - early)},{symbol},{amount:.8f},{value:.8f},"
            + ",".join(f"{ratio[time]:.8f}" if time in ratio else '""' for ratio in ratios)
            for time, amount, value in source.open_interest(symbol, first, last)
        ]
        return METRICS + "\n".join(lines) + "\n" if lines else ""


def bounds(stamp: str) -> tuple[int, int]:
    """First and last instant, ms, of a month or a day; (0, 0) of a date that does not exist.

    >>> bounds("2024-02") == (1_706_745_600_000, 1_709_251_200_000)
    True
    """
    try:
        begin = datetime.fromisoformat(stamp if len(stamp) == 10 else f"{stamp}-01").replace(tzinfo=UTC)
    except ValueError:
        return 0, 0
    end = begin + timedelta(days=1) if len(stamp) == 10 else (begin + timedelta(days=32)).replace(day=1)
    return round(begin.timestamp() * 1000), round(end.timestamp() * 1000)


def published(begin: int, end: int) -> int:
    """When a day or a month appears, in ms: a month on the first Monday after its end.

    >>> published(*bounds("2025-05")) == bounds("2025-06-02")[0]
    True
    """
    if end - begin <= DAY:
        return end + LATE
    at = datetime.fromtimestamp(end / 1000, UTC)
    return end + (-at.weekday() % 7) * DAY


def label(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def packed(name: str, text: str) -> bytes:
    """A zip of one file; the same bytes for the same text."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()
