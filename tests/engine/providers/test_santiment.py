"""Santiment: all assets in one call a metric, inside a month's quota, errors in answers that look good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from dataflows.replay.companion import santiment as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused, SourceError
from engine.providers.base import DAY, HOUR
from engine.providers.fields import instant
from engine.providers.santiment import SERIES, SLUGS, Santiment
from tests.providers import (
    ASSETS,
    NOW,
    Recording,
    check_companion_shapes,
    check_fixtures,
    check_provider,
    check_recording,
    fixtures,
    recorded,
    recordings,
    sent,
    spending,
)

SINGLE = dict.fromkeys(
    (
        *("age_consumed", "dev_activity", "mean_age", "mvrv_usd", "mvrv_usd_30d"),
        *("social_volume_total", "whale_tx_100k", "whale_tx_1m"),
    ),
    "asked for all assets at once: timeseries_per_slug has that shape",
)


def test_it_is_a_provider() -> None:
    check_provider(Santiment(), companion.answer)


def test_the_companion_answers_in_the_recorded_shape() -> None:
    check_companion_shapes(Santiment(), companion.answer)


@pytest.mark.parametrize("recording", recordings("santiment"), ids=lambda one: one.what)
def test_every_recording_is_read_or_recognised(recording: Any) -> None:
    check_recording(Santiment(), recording)


def test_every_fixture_is_read_or_recognised_and_has_our_shape() -> None:
    check_fixtures(Santiment(), SINGLE)


def test_the_values_of_the_fixtures_of_one_asset_are_read_as_those_of_all() -> None:
    names = {series.metric: name for name, series in SERIES.items()}
    for single in fixtures("santiment"):
        if single.what not in SINGLE:
            continue
        assert single.request.body is not None
        metric = single.request.body["query"].split('"')[1]
        points = single.body["data"]["getMetric"]["timeseriesDataJson"]
        found = Santiment().parse(replace(single.request, metric=names[metric]), {"data": per_slug(points)})

        assert [one.value for one in found] == [float(point["value"]) for point in points]
        span = HOUR if metric == "social_volume_total" else DAY
        assert [one.time - span for one in found] == [instant(point["datetime"]) for point in points]


def per_slug(points: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        {"datetime": one["datetime"], "data": [{"slug": "bitcoin", "value": one["value"]}]} for one in points
    ]
    return {"getMetric": {"timeseriesDataPerSlugJson": rows}}


def test_an_asset_that_is_missing_from_a_day_is_left_out_of_it_alone() -> None:
    metrics = check_recording(Santiment(), recorded("santiment", "timeseries_per_slug"))

    assert [(one.asset, one.value) for one in metrics] == [
        *(("BTC", 1.812), ("ETH", 1.227)),
        *(("BTC", 1.804), ("ETH", 1.219)),
        ("BTC", 1.833),
    ]


def test_a_month_of_calls_stays_under_nine_hundred_whatever_the_assets() -> None:
    assert spending(Santiment(), ASSETS, 31 * 86_400.0) == 682
    assert spending(Santiment(), ("BTC",), 31 * 86_400.0) == 682


def test_one_call_holds_one_metric_of_every_asset() -> None:
    for request in Santiment().requests(ASSETS, NOW):
        assert request.body is not None
        query = request.body["query"]

        assert query.count("getMetric") == 1
        assert all(f'"{slug}"' in query for slug in SLUGS.values())
    assert list(Santiment().requests((), NOW)) == []


def test_days_are_asked_from_before_what_the_free_plan_hides() -> None:
    daily = [series for series in SERIES.values() if series.interval == "1d"]

    assert all(int(series.back.removesuffix("d")) > 30 + 7 for series in daily)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("outside the allowed interval you can query with the subscription SANAPI FREE", NotServed),
        ("API Rate Limit Reached. Try again in 1216 seconds (21 minutes)", RateLimited),
        ("Apikey 'x' is not valid", Refused),
        ("The metric 'mvrv_eur' is not supported or is mistyped.", SourceError),
    ],
)
def test_an_error_in_a_good_answer_is_of_its_kind(text: str, kind: type[Exception]) -> None:
    request = recorded("santiment", "timeseries_per_slug").request
    for body in ({"errors": [{"message": text}]}, {"errors": {"details": text}, "data": None}):
        with pytest.raises(kind) as caught:
            Santiment().parse(request, body)

        assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("before", "after"), [("mvrv_usd_30d", "mvrv_eur"), ("getMetric", "getMatrix"), ("slugs", "slags")]
)
def test_the_companion_answers_a_wrong_question_with_an_error_in_a_good_answer(
    before: str, after: str
) -> None:
    request = next(one for one in Santiment().requests(("BTC",), NOW) if one.metric == "mvrv_30d")
    assert request.body is not None
    wrong = replace(request, body={"query": request.body["query"].replace(before, after)})
    told = companion.answer(sent(Santiment(), wrong), NOW, Numbers())

    assert told.status == 200
    with pytest.raises(SourceError, match="santiment mvrv_30d: "):
        Santiment().parse(wrong, orjson.loads(told.body))


def test_the_wait_is_the_one_in_its_words_and_else_that_of_the_header() -> None:
    told = recorded("santiment", "error_429")
    silent = Recording(told.what, told.request, told.status, told.headers, {"errors": {}})
    waits = [
        fault.retry_after
        for one in (told, silent)
        if isinstance(
            fault := Santiment().fault(one.status, {"x-ratelimit-reset": "9"}, one.body), RateLimited
        )
    ]

    assert waits == [1216.0, 9.0]
    assert Santiment().remaining(recorded("santiment", "timeseries_per_slug").headers) == 903.0
