"""What every provider plug must do, as checks that take any of them; over recordings and the companion."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dataflows.replay.answers import Answer
from dataflows.replay.answers import Request as Asked
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused, SourceError
from engine.providers.base import DAY, HOUR, PERMANENT, Provider, Request
from engine.records import Metric
from engine.symbols import KNOWN, asset_of
from tests.hostile import ANY_JSON, as_text, broken, everywhere, newest_first, shortened, with_more_keys
from tests.recordings import (
    NOW,
    Recording,
    block_of,
    fixture,
    fixture_folder,
    fixtures,
    key_paths,
    recorded,
    recordings,
)

ASSETS: Final = tuple(asset_of(symbol) for symbol in KNOWN)
KEY: Final = "canary-7f3e9d21"
"""A key that must be found nowhere but where the provider wants it."""

LONGEST: Final = 300
"""Characters that the message of an error may have."""

__all__ = [  # what a provider's tests need, from here and from the recordings
    "ASSETS",
    "KEY",
    "NOW",
    "Recording",
    "block_of",
    "check_companion_shapes",
    "check_fixtures",
    "check_provider",
    "check_recording",
    "check_same_shape",
    "exchange",
    "fixture",
    "fixture_folder",
    "fixtures",
    "key_paths",
    "recorded",
    "recordings",
    "sent",
    "spending",
]

Answers = Callable[[Asked, int, Numbers], Answer]
"""The companion's side of one provider."""


def check_same_shape(ours: Recording, theirs: Recording) -> None:
    """Our recording has the status, the key paths and the JSON types of the fixture."""
    assert ours.status == theirs.status, f"{ours.what}: status {ours.status}, the fixture has {theirs.status}"
    mine, given_ = key_paths(ours.body), key_paths(theirs.body)
    assert mine == given_, (
        f"{ours.what}: only ours {sorted(mine - given_)}, only theirs {sorted(given_ - mine)}"
    )


def check_fixtures(provider: Provider, unused: Mapping[str, str] = {}) -> None:
    """Every fixture has a recording of its name and shape, and is read, or recognised as the error it is.

    `unused` names the fixtures that no request of the plug leads to, and why. What the answer is to is taken
    from the recording, for a fixture does not say by what name we ask.
    """
    for theirs in fixtures(provider.name):
        if theirs.what in unused:
            continue
        ours = recorded(provider.name, theirs.what)

        assert ours.request.path == theirs.request.path, theirs.what
        check_same_shape(ours, theirs)
        asked = Recording(theirs.what, ours.request, theirs.status, theirs.headers, theirs.body)
        check_recording(provider, asked)


def check_companion_shapes(provider: Provider, answer: Answers) -> None:
    """The companion answers in the shape of one of the recordings of the same path, where there are any."""
    shapes: dict[str, list[set[tuple[str, str]]]] = {}
    for one in recordings(provider.name):
        if not one.wrong:
            shapes.setdefault(one.request.path, []).append(key_paths(one.body))
    compared = [(request, body) for request, body in exchange(provider, answer) if request.path in shapes]
    assert compared, f"{provider.name}: no path that is asked was recorded"
    for request, body in compared:
        nearest = min((key_paths(body) ^ shape for shape in shapes[request.path]), key=len)
        assert not nearest, f"{request.path}: not in both {sorted(nearest)}"


def check_recording(provider: Provider, recording: Recording) -> list[Metric]:
    """A good answer becomes numbers, a wrong one an error; the numbers of it, for more to be said of them."""
    if recording.status >= 300:
        fault = provider.fault(recording.status, recording.headers, recording.body)
        check_message(provider, fault)
        return []
    if recording.wrong:
        with pytest.raises(SourceError):
            list(provider.parse(recording.request, recording.body))
        return []
    metrics = list(provider.parse(recording.request, recording.body))
    assert metrics, f"{recording.what} became no number"
    for metric in metrics:
        check_metric(provider, metric)
    check_order(recording.what, metrics)
    check_once(recording.what, metrics)
    return metrics


def check_metric(provider: Provider, metric: Metric) -> None:
    """A number has a promised name, the right owner, a time that can be stored, and is not learned yet."""
    source, _, name = metric.name.partition(".")
    assert source == provider.name, metric
    promise = provider.metrics.get(name)
    assert promise is not None, f"{metric.name} is not promised"
    assert not promise.gone, f"{metric.name} is said to be gone"
    assert (metric.asset == "") == (promise.of == "market"), metric
    assert metric.asset in ("", *ASSETS), metric
    assert type(metric.time) is int, metric
    assert 0 <= metric.time < 1 << 53, metric
    assert type(metric.value) is float, metric
    assert isfinite(metric.value), metric
    assert metric.learned == 0, metric


def check_order(where: str, metrics: list[Metric]) -> None:
    """Oldest first."""
    times = [metric.time for metric in metrics]
    assert times == sorted(times), f"{where}: not sorted by time"


def check_once(where: str, metrics: list[Metric]) -> None:
    """One number for one name, asset and time."""
    marks = [(metric.name, metric.asset, metric.time) for metric in metrics]
    twice = sorted(mark for mark, count in Counter(marks).items() if count > 1)
    assert not twice, f"{where}: twice {twice[:3]}"


def sent(provider: Provider, request: Request, key: str | None = KEY) -> Asked:
    """A request as the companion hears it."""
    path, _, query = (f"/@{request.host}" if request.host else "", "", "")
    below, _, query = request.path.partition("?")
    headers = {name.lower(): value for name, value in provider.headers(key).items()}
    asked = {**dict(parse_qsl(query)), **request.params, **provider.query(key)}
    if request.body is None:
        return Asked("GET", path + below, asked, headers)
    headers["content-type"] = "application/json"
    return Asked("POST", path + below, asked, headers, orjson.dumps(request.body))


@dataclass(frozen=True)
class Case:
    """A plug, the companion's side of it, and what they said to each other at `NOW`.

    `behind` is the age in ms that a newest number may have; `ordered` says that the place of a row in its
    list tells something, so that no rows are turned round.
    """

    provider: Provider
    answer: Answers
    behind: int
    ordered: bool
    exchanged: tuple[tuple[Request, Any], ...]

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.exchanged]

    def read(self) -> list[Metric]:
        """The numbers of all answers, with those that a plug derives of several of them."""
        found = [metric for request, body in self.exchanged for metric in self.provider.parse(request, body)]
        derive = getattr(self.provider, "derive", None)
        return found if derive is None else [*found, *derive(found)]


def exchange(provider: Provider, answer: Answers) -> tuple[tuple[Request, Any], ...]:
    """Every request for all assets, with the companion's answer to it."""
    exchanged = []
    for request in provider.requests(iter(ASSETS), NOW):
        told = answer(sent(provider, request), NOW, Numbers(1))
        assert told.status == 200, f"{request.path}: {told.status} {told.body[:200]!r}"
        exchanged.append((request, orjson.loads(told.body)))
    return tuple(exchanged)


def check_provider(
    provider: Provider, answer: Answers, *, behind: int = 3 * DAY, ordered: bool = False
) -> None:
    """Everything a plug must do; fails with an AssertionError that says which of it and where."""
    check_described(provider)
    case = Case(provider, answer, behind, ordered, exchange(provider, answer))
    for check in CHECKS:
        check(case)


def check_described(provider: Provider) -> None:
    """Names that can be keys of settings and columns, a key that can be a variable of the environment."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", provider.name)
    assert re.fullmatch(r"([A-Z][A-Z0-9_]*)?", provider.key)
    assert provider.key or not provider.needs_key
    assert type(provider).__module__ == f"engine.providers.{provider.name}"
    assert provider.metrics
    for name, promise in provider.metrics.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert promise.unit.strip(), f"{name} has no unit"
        assert promise.of in ("asset", "market"), name
        assert promise.gone == promise.gone.strip(), name


def check_requests(case: Case) -> None:
    """They depend on what is asked alone, each question is asked once, unknown assets are left out."""
    provider = case.provider
    once = list(provider.requests(ASSETS, NOW))
    assert once, "nothing is asked"
    assert list(provider.requests(iter(ASSETS), NOW)) == once
    assert list(provider.requests(ASSETS * 2, NOW)) == once, "an asset named twice is asked twice"
    assert list(provider.requests((*ASSETS, "ZZZ", ""), NOW)) == once, "an unknown asset is asked"
    asked = [json.dumps([one.host, one.path, dict(one.params), one.body], sort_keys=True) for one in once]
    assert len(asked) == len(set(asked)), "the same is asked twice"
    for request in once:
        assert request.path.startswith("/"), request
        assert all(isinstance(value, str) for value in request.params.values()), request
        assert not request.host or request.host in block_of(provider.name).hosts, request
        assert request.cost >= 0, request
        assert request.every is None or 1 <= request.every <= 86_400 * 31, request
        if request.metric in provider.metrics:
            assert not provider.metrics[request.metric].gone, f"{request.metric} is gone, and asked"


def check_promises(case: Case) -> None:
    """Every metric that is not gone comes, of every asset that is asked about, and is of lately."""
    newest: dict[tuple[str, str], int] = {}
    for request, body in case.exchanged:
        metrics = list(case.provider.parse(request, body))
        check_order(request.path, metrics)
        check_once(request.path, metrics)
    for metric in sorted(case.read(), key=lambda metric: metric.time):
        check_metric(case.provider, metric)
        if metric.time <= NOW:
            newest[metric.name.partition(".")[2], metric.asset] = metric.time
    kept = {name for name, _ in newest}
    promised = {name for name, promise in case.provider.metrics.items() if not promise.gone}
    assert kept == promised, f"never came: {sorted(promised - kept)}"
    missing = set(covered(case.provider)) - {asset for _, asset in newest}
    assert not missing, f"asked about and without a number: {sorted(missing)}"
    old = {mark: NOW - time for mark, time in newest.items() if NOW - time > case.behind}
    assert not old, f"older than {case.behind / HOUR} h: {sorted(old)[:5]}"


def covered(provider: Provider) -> list[str]:
    """The assets about which something is asked that is not asked anyway."""
    anyway = list(provider.requests((), NOW))
    return [asset for asset in ASSETS if list(provider.requests((asset,), NOW)) != anyway]


def check_pure(case: Case) -> None:
    """The same twice, also from a copy that was pickled; an answer is left as it came."""
    twin = pickle.loads(pickle.dumps(case.provider))
    assert list(twin.requests(ASSETS, NOW)) == list(case.provider.requests(ASSETS, NOW))
    for request, body in case.exchanged:
        before = deepcopy(body)
        first = list(case.provider.parse(request, body))

        assert list(case.provider.parse(request, body)) == first
        assert list(twin.parse(request, body)) == first
        assert body == before, f"{request.path}: parse changed the answer"


def check_unmoved(case: Case) -> None:
    """Rows in another order, keys that are new and numbers as strings make no difference."""
    changes: dict[str, Callable[[Any], Any]] = {"new keys": with_more_keys, "strings": as_text}
    if not case.ordered:
        changes["rows turned round"] = newest_first
    for request, body in case.exchanged:
        plain = list(case.provider.parse(request, body))
        for name, change in changes.items():
            found = list(case.provider.parse(request, everywhere(body, change)))

            assert sorted(found, key=repr) == sorted(plain, key=repr), f"{request.path}: {name}"
            check_order(f"{request.path}: {name}", found)


def check_hostile(case: Case, count: int = 150) -> None:
    """Whatever comes becomes numbers that can be stored, or a SourceError that is short and names whose."""
    short = [(request, everywhere(body, shortened)) for request, body in case.exchanged]
    requests = st.sampled_from([request for request, _ in short])
    pairs = st.sampled_from(short).flatmap(lambda pair: st.tuples(st.just(pair[0]), broken([pair[1]])))
    foreign = st.tuples(requests, ANY_JSON | st.sampled_from([body for _, body in short]))

    @examples(
        max_examples=count,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(pairs | foreign)
    def holds(pair: tuple[Request, Any]) -> None:
        try:
            metrics = list(case.provider.parse(*pair))
        except SourceError as error:
            check_message(case.provider, error)
        else:
            for metric in metrics:
                check_metric(case.provider, metric)
            check_order(pair[0].path, metrics)

    holds()


def check_no_page(case: Case) -> None:
    """A page of HTML, half an answer or none is no answer; the request's own words say what was asked."""
    for request, _ in case.exchanged:
        for body in ("<html><title>Just a moment...</title></html>", "", '[{"t": 17', 17, None, True):
            with pytest.raises(SourceError) as caught:
                list(case.provider.parse(request, body))
            check_message(case.provider, caught.value)


def check_message(provider: Provider, error: SourceError) -> None:
    text = str(error)
    assert provider.name in text, f"the error does not say whose it is: {text}"
    assert len(text) <= LONGEST, f"{len(text)} characters of error"
    assert "\n" not in text, text
    assert KEY not in text


STATUSES: Final = (
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    410,
    413,
    418,
    422,
    425,
    429,
    451,
    500,
    502,
    503,
    504,
    520,
    599,
)
WAITS: Final = ("17", "0", "-5", "0.5", "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "nan", "1e9")
WRONG: Final[tuple[Any, ...]] = (
    None,
    "",
    "Bad Gateway\n",
    "<html>\n" + "x" * 100_000,
    [],
    {},
    ["no"],
    17,
    {"error": "no"},
    {"error": {"message": "no", "type": ["no"]}},
    {"errors": {"details": "no"}},
    {"errors": [{"message": "no"}, None, 3]},
    {"status": {"code": 429, "message": None}},
    {"message": "x" * 100_000},
    {"detail": [{"msg": "no"}]},
)


def check_faults(case: Case) -> None:
    """Every status is a SourceError of the right kind, whatever body and headers come with it."""
    for status in STATUSES:
        for body in (*WRONG, *case.bodies[:1]):
            check_fault(case.provider, status, {}, body)
        for wait in WAITS:
            check_fault(case.provider, status, {"retry-after": wait, "x-ratelimit-reset": wait}, None)


def check_fault(provider: Provider, status: int, headers: Mapping[str, str], body: Any) -> None:
    fault = provider.fault(status, headers, body)
    check_message(provider, fault)
    kind, where = type(fault), f"{status} {str(body)[:60]} became {fault!r}"
    if status in PERMANENT:
        assert isinstance(fault, Refused), where
    elif status == 429:
        assert kind in (RateLimited, Refused), where
    elif status >= 500 or status in (408, 425):
        # What passes may have words of waiting in it, and is never the end of the source or of one metric.
        assert kind in (SourceError, RateLimited), where
    else:
        assert kind in (NotServed, Refused, RateLimited, SourceError), where
    if isinstance(fault, RateLimited):
        assert 1 <= fault.retry_after < inf, where


def check_remaining(case: Case) -> None:
    """Headers that do not tell what is left, or tell nonsense, tell nothing."""
    assert case.provider.remaining({}) is None
    names = re.compile(r"[a-z0-9-]+")
    known = [name for one in recordings(case.provider.name) for name in one.headers]
    for name in {*known, "x-ratelimit-remaining", "x-rate-limit-remaining"}:
        assert names.fullmatch(name), f"{name} is not in lower case"
        for value in ("", "many", "nan", "inf", "-inf"):
            left = case.provider.remaining({name: value})
            assert left is None, f"{name}: {value} was read as {left}"


def check_key(case: Case) -> None:
    """The key travels where it is asked for and nowhere else, and without one the plug says nothing of it."""
    provider = case.provider
    carried = [*provider.headers(KEY).values(), *provider.query(KEY).values()]
    assert any(KEY in value for value in carried) == bool(provider.key)
    without = [*provider.headers(None).values(), *provider.query(None).values()]
    assert not any("None" in value for value in without), without
    for request, body in case.exchanged:
        assert KEY not in repr(request)
        assert KEY not in json.dumps(body), f"{request.path}: the companion repeats the key"
        if provider.needs_key:
            told = case.answer(sent(provider, request, None), NOW, Numbers(1))
            assert told.status in (401, 403), f"{request.path} without a key: {told.status}"
            fault = provider.fault(told.status, lowered(told), decoded(told))
            assert isinstance(fault, Refused), fault


def check_companion(case: Case) -> None:
    """The companion says the same of the same moment, knows what it does not serve, and has no future."""
    for request, body in case.exchanged:
        again = case.answer(sent(case.provider, request), NOW, Numbers(1))
        assert orjson.loads(again.body) == body, request.path
        other = case.answer(sent(case.provider, request), NOW, Numbers(2))
        assert other.status == 200, request.path
    request = case.exchanged[0][0]
    lost = Request(f"{request.path}-that-nobody-serves", host=request.host, body=request.body)
    told = case.answer(sent(case.provider, lost), NOW, Numbers(1))
    assert told.status in (400, 404), f"{lost.path}: {told.status}"
    check_message(case.provider, case.provider.fault(told.status, lowered(told), decoded(told)))


def lowered(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers}


def decoded(answer: Answer) -> Any:
    """A body as `fault` gets it: JSON where it is some, else text."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return answer.body.decode(errors="replace")


def check_budget(case: Case) -> None:
    """Asked as often as it says, about all assets, the plug stays inside the limits of its own settings."""
    block = block_of(case.provider.name)
    limits = {86_400.0: block.per_day, 31 * 86_400.0: block.per_month, 3600.0: block.per_minute * 60}
    for span, limit in limits.items():
        spent = spending(case.provider, ASSETS, span)
        assert limit is None or spent <= limit, f"{spent:.0f} in {span / 3600:.0f} h, {limit} are allowed"


def spending(provider: Provider, assets: Collection[str], span: float) -> float:
    """What a plug costs in `span` seconds, asked as often as it says, or its settings where it does not."""
    usual = block_of(provider.name).every
    asked: Iterable[Request] = provider.requests(assets, NOW)
    return sum(request.cost * span / max(request.every or usual, usual) for request in asked)


CHECKS: Final[tuple[Callable[[Case], None], ...]] = (
    check_requests,
    check_promises,
    check_pure,
    check_unmoved,
    check_no_page,
    check_hostile,
    check_faults,
    check_remaining,
    check_key,
    check_companion,
    check_budget,
)
"""What `check_provider` runs, from the plain to the strange."""
