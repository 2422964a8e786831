"""What stands before every request: faults of the REST side, weights, bans, and the headers of every answer.

It counts each request and decides whether it reaches a route; it knows no market data.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from dataflows.replay.answers import Answer, Request, RequestError
from dataflows.replay.faults import Fault
from dataflows.replay.limits import Meter
from dataflows.replay.rest import Route
from dataflows.replay.switches import Faults

ELIGIBILITY: Final = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use."
)
FORBIDDEN: Final = b"<html><head><title>403 Forbidden</title></head><body>403 Forbidden</body></html>"


class Gate:
    """Answers requests by `routes`; `now` is exchange ms, `wall` Unix seconds, `monotonic` seconds.

    A route whose path ends in "/" answers everything below it.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        meter: Meter,
        faults: Faults,
        now: Callable[[], int],
        simulated: bool,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.meter = meter
        self._routes = routes
        self._faults = faults
        self._now = now
        self._wall = wall
        self._monotonic = monotonic
        self._simulated = simulated

    def answer(self, request: Request) -> Answer:
        """The whole answer, headers and all."""
        self.requests[request.path] += 1
        answer = self._spoilt(request, self._plain(request))
        self.statuses[str(answer.status)] += 1
        used = str(self.meter.used(self._wall()))
        headers = (("x-mbx-used-weight", used), ("x-mbx-used-weight-1m", used), *answer.headers)
        return replace(answer, headers=(*headers, ("x-simulated", "true")) if self._simulated else headers)

    def _plain(self, request: Request) -> Answer:
        route = self._route(request.path)
        if route is None:
            return Answer.error(404, -1, f"{request.path} is not served here.")
        if request.method not in ("GET", "HEAD"):
            return Answer.error(405, -1, f"{request.method} is not allowed.")
        fault = self._fault("status", request)
        if fault is not None:
            self._faults.strike(fault)
            return refusal(fault)
        weight = route.weight(request.query)
        denial = self.meter.charge(route.pool, weight, self._wall()) if route.pool else None
        if denial is not None:
            answer = Answer.error(denial.status, -1003, denial.text)
            return replace(answer, headers=(("retry-after", str(denial.retry_after)),))
        return self._routed(route, request)

    def _route(self, path: str) -> Route | None:
        """The route of exactly this path, else of a folder above it."""
        folders = (folder for folder in self._routes if folder.endswith("/") and path.startswith(folder))
        return self._routes.get(path) or self._routes.get(next(folders, ""))

    def _routed(self, route: Route, request: Request) -> Answer:
        skew = next(self._faults.on("skew", self._now(), self._monotonic()), None)
        wrong = int(skew.by * 1000) if skew is not None and request.path.endswith("/time") else 0
        if self._faults.any("microseconds", self._now(), self._monotonic()):
            request = replace(request, headers={**request.headers, "x-mbx-time-unit": "MICROSECOND"})
        try:
            return route.answer(request, self._now() + wrong)
        except RequestError as error:
            return error.answer

    def _spoilt(self, request: Request, answer: Answer) -> Answer:
        """Late, or cut in the middle."""
        slow = self._fault("slow", request)
        if slow is not None:
            self._faults.strike(slow)
            answer = replace(answer, delay=slow.by)
        cut = self._fault("truncated", request)
        if cut is not None:
            self._faults.strike(cut)
            answer = replace(answer, body=answer.body[: len(answer.body) // 2])
        return answer

    def _fault(self, name: str, request: Request) -> Fault | None:
        found = self._faults.on(name, self._now(), self._monotonic())
        return next((fault for fault in found if request.path.startswith(fault.path)), None)


def refusal(fault: Fault) -> Answer:
    """The error answer of a `status` fault, in the words the exchange has for it."""
    status = fault.status
    headers = () if fault.retry_after is None else (("retry-after", str(fault.retry_after)),)
    if status == 403:
        return Answer(403, FORBIDDEN, headers, "text/html")
    code, text = {
        418: (
            -1003,
            "Way too much request weight used; IP banned. Please use WebSocket Streams for live updates.",
        ),
        429: (-1003, "Too much request weight used. Please use WebSocket Streams for live updates."),
        451: (0, ELIGIBILITY),
        503: (
            -1008,
            "Server is currently overloaded with other requests. Please try again in a few minutes.",
        ),
    }.get(status, (-1000, "An unknown error occurred while processing the request."))
    return replace(Answer.error(status, code, text), headers=headers)
