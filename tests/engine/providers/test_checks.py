"""The checks of providers can fail: an honest plug passes them, each cheat is caught by the one it fears."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from dataflows.replay.answers import Answer
from dataflows.replay.answers import Request as Asked
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import number, rows, unix, words
from engine.records import Metric
from tests import providers as checks
from tests.providers import NOW, Case, exchange, key_paths


class Honest:
    """A plug that does everything right; it goes by the name of a real one for the sake of its settings."""

    name = "glassnode"
    key = "GLASSNODE_API_KEY"
    needs_key = True
    metrics: Mapping[str, Promise] = MappingProxyType({"nupl": Promise("share")})

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"x-key": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        wanted = set(assets)
        for asset in ("BTC", "ETH"):
            if asset in wanted:
                yield Request("/nupl", {"a": asset}, metric="nupl", asset=asset, at=now)

    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        found = [
            Metric("glassnode.nupl", request.asset, time + DAY, value)
            for row in rows("glassnode nupl", body)
            if (time := unix(row.get("t"))) is not None and (value := number(row.get("v"))) is not None
        ]
        return sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "error"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return number(headers.get("x-rate-limit-remaining"))


def answer(request: Asked, now: int, numbers: Numbers) -> Answer:
    """Three days, newest first."""
    if "x-key" not in request.headers:
        return Answer.of({"error": "no key"}, 401)
    if request.path != "/nupl":
        return Answer.of({"error": "no such path"}, 404)
    days = [now // DAY * DAY - back * DAY for back in range(1, 4)]
    asset = request.query["a"]
    return Answer.of([{"t": at // 1000, "v": numbers.level("nupl", asset, at, 0.4, 0.1)} for at in days])


def case(plug: Any, told: checks.Answers = answer) -> Case:
    return Case(plug, told, 3 * DAY, False, exchange(plug, told))


class AsksTwice(Honest):
    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        for asset in assets:
            yield from super().requests((asset,), now)


class AsksForAll(Honest):
    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        for asset in dict.fromkeys(assets):
            yield Request("/nupl", {"a": asset}, metric="nupl", asset=asset, at=now)


class Counts(Honest):
    asked = 0

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        type(self).asked += 1
        for request in super().requests(assets, now):
            yield Request(request.path, {**request.params, "n": str(self.asked)}, asset=request.asset)


class AsksForWhatIsGone(Honest):
    metrics = MappingProxyType({"nupl": Promise("share", gone="since 2020")})


class PromisesMore(Honest):
    metrics = MappingProxyType({"nupl": Promise("share"), "sopr": Promise("ratio")})


class PromisesLess(Honest):
    metrics = MappingProxyType({"sopr": Promise("ratio")})


class TellsTheMarket(Honest):
    metrics = MappingProxyType({"nupl": Promise("share", of="market")})


class Unsorted(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return reversed(list(super().parse(request, body)))


class Repeats(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return [metric for metric in super().parse(request, body) for _ in range(2)]


class LosesAnAsset(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return [metric for metric in super().parse(request, body) if metric.asset == "BTC"]


class Late(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return [
            Metric(one.name, one.asset, one.time - 9 * DAY, one.value) for one in super().parse(request, body)
        ]


class Eats(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        found = list(super().parse(request, body))
        body.clear()
        return found


class Remembers(Honest):
    def __init__(self) -> None:
        self.seen: list[Metric] = []

    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        found = [metric for metric in super().parse(request, body) if metric not in self.seen]
        self.seen += found
        return found


class CannotBePickled(Honest):
    def __init__(self) -> None:
        self.read = lambda row: row


class OnlyNumbers(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return super().parse(request, [row for row in body if isinstance(row["v"], float)])


class TakesTheFirst(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return super().parse(request, rows("glassnode nupl", body)[:1])


class KnowsTheKeys(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        if any(set(row) != {"t", "v"} for row in rows("glassnode nupl", body)):
            raise Unreadable("glassnode nupl: keys that are not known")
        return super().parse(request, body)


class TrustsKeys(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return [Metric("glassnode.nupl", request.asset, row["t"] * 1000, float(row["v"])) for row in body]


class TrustsTimes(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        found = [
            Metric("glassnode.nupl", request.asset, int(time) * 1000, value)
            for row in rows("glassnode nupl", body)
            if (time := number(row.get("t"))) is not None and (value := number(row.get("v"))) is not None
        ]
        return sorted(found, key=lambda metric: metric.time)


class QuotesTheAnswer(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        try:
            return super().parse(request, body)
        except Unreadable as error:
            raise Unreadable(f"glassnode nupl: {body}" + "x" * 300) from error


class SwallowsPages(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        return super().parse(request, body if isinstance(body, list) else [])


class Nameless(Honest):
    def parse(self, request: Request, body: Any) -> Iterable[Metric]:
        try:
            return super().parse(request, body)
        except Unreadable as error:
            raise Unreadable("no rows") from error


class NeverGivesUp(Honest):
    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return NotServed(f"glassnode: {status}")


class ShowsThePage(Honest):
    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return SourceError(f"glassnode: {body}")


class TrustsErrors(Honest):
    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, body["error"])


class LeavesNothing(Honest):
    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return float("nan") if headers.get("x-rate-limit-remaining") else None


class ForgetsTheKey(Honest):
    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"x-key": "public"}


class SendsNone(Honest):
    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"x-key": f"{key}"}


class AsksTooOften(Honest):
    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        for request in super().requests(assets, now):
            yield Request(request.path, request.params, metric="nupl", asset=request.asset, cost=10_000.0)


CHEATS: list[tuple[type[Honest], Callable[[Case], None]]] = [
    (AsksTwice, checks.check_requests),
    (AsksForAll, checks.check_requests),
    (Counts, checks.check_requests),
    (AsksForWhatIsGone, checks.check_requests),
    (PromisesMore, checks.check_promises),
    (PromisesLess, checks.check_promises),
    (TellsTheMarket, checks.check_promises),
    (Unsorted, checks.check_promises),
    (Repeats, checks.check_promises),
    (LosesAnAsset, checks.check_promises),
    (Late, checks.check_promises),
    (Eats, checks.check_pure),
    (Remembers, checks.check_pure),
    (CannotBePickled, checks.check_pure),
    (OnlyNumbers, checks.check_unmoved),
    (TakesTheFirst, checks.check_unmoved),
    (KnowsTheKeys, checks.check_unmoved),
    (TrustsKeys, checks.check_hostile),
    (TrustsTimes, checks.check_hostile),
    (QuotesTheAnswer, checks.check_hostile),
    (SwallowsPages, checks.check_no_page),
    (Nameless, checks.check_no_page),
    (NeverGivesUp, checks.check_faults),
    (ShowsThePage, checks.check_faults),
    (TrustsErrors, checks.check_faults),
    (LeavesNothing, checks.check_remaining),
    (ForgetsTheKey, checks.check_key),
    (SendsNone, checks.check_key),
    (AsksTooOften, checks.check_budget),
]


FAILURES = (
    *(AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(SourceError, pytest.fail.Exception),
)
"""What a check may fail with: its own word, or what the plug broke with."""


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_an_honest_plug_passes(check: Callable[[Case], None]) -> None:
    check(case(Honest()))


@pytest.mark.parametrize(("cheat", "check"), CHEATS, ids=lambda one: one.__name__)
def test_a_cheat_is_caught(cheat: type[Honest], check: Callable[[Case], None]) -> None:
    plug = cheat()
    tried = Case(plug, answer, 3 * DAY, False, exchange(Honest(), answer))

    with pytest.raises(FAILURES):
        check(tried)


def loose(request: Asked, now: int, numbers: Numbers) -> Answer:
    """A companion that lets everybody in."""
    return answer(Asked(request.method, request.path, request.query, {"x-key": "any"}), now, numbers)


def blind(request: Asked, now: int, numbers: Numbers) -> Answer:
    """A companion that has every path."""
    return answer(Asked(request.method, "/nupl", {"a": "BTC"}, {"x-key": "any"}), now, numbers)


def test_a_companion_that_needs_no_key_or_knows_every_path_is_caught() -> None:
    with pytest.raises(AssertionError, match="without a key"):
        checks.check_key(case(Honest(), loose))
    with pytest.raises(AssertionError, match="that-nobody-serves"):
        checks.check_companion(case(Honest(), blind))


def test_every_check_catches_somebody() -> None:
    caught = {check for _, check in CHEATS} | {checks.check_companion}

    assert caught == set(checks.CHECKS)


def test_shapes_differ_by_a_key_and_by_a_type_but_not_by_how_many_rows_there_are() -> None:
    body = {"data": [{"t": 1, "v": 0.5}]}

    assert key_paths(body) == key_paths({"data": [{"t": 2.0, "v": 7}, {"t": 3, "v": 8}]})
    assert key_paths(body) != key_paths({"data": [{"t": 1, "v": "0.5"}]})
    assert key_paths(body) != key_paths({"data": [{"t": 1, "w": 0.5}]})


def test_now_is_in_the_middle_of_an_hour() -> None:
    assert NOW % 3_600_000 > 60_000
