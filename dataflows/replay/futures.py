"""The endpoints only futures have: mark price, funding, open interest, long/short ratios.

What the source does not have is an empty list, or an empty string, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dataflows.replay import answers
from dataflows.replay.answers import Answer, Request, RequestError
from dataflows.replay.candles import DAY, HOUR, MINUTE, SPANS
from dataflows.replay.rest import Market, Route, by_symbols, fixed

PERIODS: Final = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
STATISTICS_DAYS: Final = 30
FUNDING_EVERY: Final = 8 * HOUR


class Futures:
    """Futures statistics over the same venue as `market`."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.source = market.venue.source

    def routes(self) -> dict[str, Route]:
        statistics = {
            "openInterestHist": self.open_interest_history,
            "topLongShortPositionRatio": self._ratios("top_positions"),
            "topLongShortAccountRatio": self._ratios("top_accounts"),
            "globalLongShortAccountRatio": self._ratios("accounts"),
            "takerlongshortRatio": self.taker_ratio,
        }
        return {
            "/fapi/v1/premiumIndex": Route(self.premium_index, by_symbols(1, 10)),
            "/fapi/v1/fundingRate": Route(self.funding_rate, fixed(1), "funding"),
            "/fapi/v1/fundingInfo": Route(self.funding_info, fixed(1), "funding"),
            "/fapi/v1/openInterest": Route(self.open_interest, fixed(1)),
            **{
                f"/futures/data/{name}": Route(answer, fixed(1), "statistics")
                for name, answer in statistics.items()
            },
        }

    def premium_index(self, request: Request, now: int) -> Answer:
        wanted = answers.names(request.query)
        rows = [row for name in self._names(wanted, now) if (row := self._premium(name, now))]
        return Answer.of(rows[0] if wanted and rows else rows)

    def _names(self, wanted: list[str] | None, now: int) -> list[str]:
        if wanted is not None:
            return [self.market.known(name, now).symbol for name in wanted]
        return [listed.symbol for listed in self.market.venue.symbols(now)]

    def _premium(self, name: str, now: int) -> dict[str, Any] | None:
        ticker = self.market.venue.ticker(name, now)
        if ticker is None:
            return None
        rate, due = self.funding_now(name, now)
        index = f"{self.index(name, ticker.close, now):.8f}"
        return {
            "symbol": name,
            "markPrice": f"{ticker.close:.8f}",
            "indexPrice": index,
            "estimatedSettlePrice": index,
            "lastFundingRate": rate,
            "interestRate": "0.00010000",
            "nextFundingTime": due,
            "time": now,
        }

    def index(self, name: str, mark: float, now: int) -> float:
        """The index price under a mark price."""
        return mark / (1 + self.source.premium(name, now))

    def funding_now(self, name: str, now: int) -> tuple[str, int]:
        """The last settled rate and the next settlement; ("", 0) where none is known."""
        settled = self.source.funding(name, now - DAY, now + 1)
        if not settled:
            return "", 0
        return f"{settled[-1][1]:.8f}", (now // FUNDING_EVERY + 1) * FUNDING_EVERY

    def funding_rate(self, request: Request, now: int) -> Answer:
        query = request.query
        limit = answers.limit(query, 100, 1000, strict=True)
        start, end = answers.moment(query, "startTime"), answers.moment(query, "endTime")
        last = now + 1 if end is None else min(end, now) + 1
        names = self._names([answers.symbol(query)] if "symbol" in query else None, now)
        first = last - 200 * DAY if start is None else start
        rows = [self._settled(name, *row) for name in names for row in self.source.funding(name, first, last)]
        rows.sort(key=lambda row: row["fundingTime"])
        return Answer.of(rows[-limit:] if start is None else rows[:limit])

    @staticmethod
    def _settled(name: str, time: int, rate: float, mark: float) -> dict[str, Any]:
        price = f"{mark:.8f}" if mark else ""
        return {
            "symbol": name,
            "fundingTime": time,
            "fundingRate": f"{rate:.8f}",
            "markPrice": price,
            "rateType": "Regular",
        }

    def funding_info(self, request: Request, now: int) -> Answer:
        """Only contracts with an unusual interval are listed by the exchange; here there are none."""
        return Answer.of([])

    def open_interest(self, request: Request, now: int) -> Answer:
        name = self.market.known(answers.symbol(request.query), now).symbol
        rows = self.source.open_interest(name, now - HOUR, now + 1)
        if not rows:
            text = "Symbol is on delivering or delivered or settling or closed or pre-trading."
            raise RequestError(-4108, text)
        time, amount, _ = rows[-1]
        return Answer.of({"openInterest": f"{amount:.3f}", "symbol": name, "time": time})

    def open_interest_history(self, request: Request, now: int) -> Answer:
        name, start, end, period, limit = self._window(request, now)
        rows = [
            {
                "symbol": name,
                "sumOpenInterest": f"{amount:.8f}",
                "sumOpenInterestValue": f"{value:.8f}",
                "timestamp": time,
            }
            for time, amount, value in self.source.open_interest(name, start, end)
            if time % period == 0
        ]
        return Answer.of(self._page(request, rows, limit))

    def _ratios(self, kind: str) -> Callable[[Request, int], Answer]:
        def answer(request: Request, now: int) -> Answer:
            name, start, end, period, limit = self._window(request, now)
            rows = [
                {
                    "symbol": name,
                    "longShortRatio": f"{ratio:.4f}",
                    "longAccount": f"{ratio / (1 + ratio):.4f}",
                    "shortAccount": f"{1 / (1 + ratio):.4f}",
                    "timestamp": time,
                }
                for time, ratio in self.source.ratio(kind, name, start, end)
                if time % period == 0
            ]
            return Answer.of(self._page(request, rows, limit))

        return answer

    def taker_ratio(self, request: Request, now: int) -> Answer:
        name, start, end, period, limit = self._window(request, now)
        rows = []
        for time, ratio in self.source.ratio("taker", name, start, end):
            if time % period == 0:
                volume = self.market.venue.closed(name, "5m", time - 5 * MINUTE, time, now).values[:, 4].sum()
                sold = float(volume) / (1 + ratio)
                bought = float(volume) - sold
                row = {"buySellRatio": f"{ratio:.4f}", "buyVol": f"{bought:.4f}", "sellVol": f"{sold:.4f}"}
                rows.append({**row, "timestamp": time})
        return Answer.of(self._page(request, rows, limit))

    def _window(self, request: Request, now: int) -> tuple[str, int, int, int, int]:
        """Symbol, [start, end) within the last 30 days, period in ms, limit."""
        query = request.query
        name = self.market.known(answers.symbol(query), now).symbol
        if answers.mandatory(query, "period") not in PERIODS:
            raise RequestError(-1130, "Data sent for parameter 'period' is not valid.")
        limit = answers.limit(query, 30, 500, strict=True)
        start, end = answers.moment(query, "startTime"), answers.moment(query, "endTime")
        period = SPANS[query["period"]]
        last = now + 1 if end is None else min(end, now) + 1
        first = last - (limit + 1) * period if start is None else start
        return name, max(first, now - STATISTICS_DAYS * DAY), last, period, limit

    @staticmethod
    def _page(request: Request, rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
        return rows[:limit] if "startTime" in request.query else rows[-limit:]
