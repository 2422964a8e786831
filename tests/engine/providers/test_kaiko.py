import pytest

from dataflows.replay.companion import kaiko as companion
from engine.errors import SourceError, Unreadable
from engine.providers.base import HOUR, Request
from engine.providers.kaiko import INTERVAL, Kaiko
from engine.records import Metric
from tests.providers import (
    ASSETS,
    NOW,
    Recording,
    check_fixtures,
    check_order,
    check_provider,
    check_recording,
    exchange,
    recorded,
    recordings,
)


def said(what: str) -> dict[str, list[float]]:
    """The values of one recording by name, oldest first."""
    one = recorded("kaiko", what)
    found: dict[str, list[float]] = {}
    for metric in Kaiko().parse(one.request, one.body):
        found.setdefault(metric.name.removeprefix("kaiko."), []).append(metric.value)
    return found


def test_it_keeps_the_provider_contract() -> None:
    check_provider(Kaiko(), companion.answer, behind=HOUR)


@pytest.mark.parametrize("recording", recordings("kaiko"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(Kaiko(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(Kaiko())


def test_a_book_is_told_in_the_quote_asset_and_as_shares() -> None:
    book = said("ob_aggregations_full")

    assert book["book_bid_0_1"] == [40.0 * 64_000]
    assert book["book_ask_1"] == [340.0 * 64_000]
    assert book["book_imbalance_0_1"] == [pytest.approx(16 / 64)]
    assert book["book_imbalance_1"] == [pytest.approx(-40 / 640)]
    assert book["book_spread"] == [pytest.approx(1e-4)]
    assert (book["slippage_bid"], book["slippage_ask"]) == ([0.00029], [0.00041])


def test_a_price_speaks_of_the_interval_that_ends_and_null_says_nothing() -> None:
    one = recorded("kaiko", "nothing_traded")

    assert list(Kaiko().parse(one.request, one.body)) == [
        Metric("kaiko.vwap_cbse", "BTC", 1_789_991_700_000 + INTERVAL, 64_199.5)
    ]


def test_a_book_without_a_middle_still_says_which_side_is_heavier() -> None:
    row = {"poll_timestamp": 1000, "bid_volume1": "3", "ask_volume1": "1", "mid_price": None, "spread": "2"}

    metrics = Kaiko().parse(Request("/", metric="book", asset="ETH"), {"data": [row]})

    assert [(metric.name, metric.value) for metric in metrics] == [("kaiko.book_imbalance_1", 0.5)]


def test_an_answer_without_rows_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="kaiko book: data is missing or null, not a list"):
        Kaiko().parse(Request("/", metric="book", asset="ETH"), {"result": "success"})


def test_an_error_in_a_200_is_raised_with_its_words() -> None:
    one = recorded("kaiko", "error_in_200")

    with pytest.raises(SourceError, match="kaiko vwap_cbse: Query took too long") as caught:
        Kaiko().parse(one.request, one.body)
    assert type(caught.value) is SourceError


def test_derived_metrics_come_of_every_asset_from_one_round() -> None:
    kaiko = Kaiko()
    heard = [
        metric for asked, body in exchange(kaiko, companion.answer) for metric in kaiko.parse(asked, body)
    ]
    derived = kaiko.derive(heard)

    assert {(metric.name, metric.asset) for metric in derived} == {
        (f"kaiko.{name}", asset) for name in ("coinbase_premium", "cross_exchange_spread") for asset in ASSETS
    }
    check_order("derived", derived)
    prices = {
        metric.name.rpartition("_")[2]: metric.value
        for metric in heard
        if "vwap" in metric.name and (metric.asset, metric.time) == ("SOL", NOW // INTERVAL * INTERVAL)
    }
    told = {
        metric.name: metric.value
        for metric in derived
        if (metric.asset, metric.time) == ("SOL", NOW // INTERVAL * INTERVAL)
    }
    assert told["kaiko.coinbase_premium"] == pytest.approx(prices["cbse"] / prices["bnce"] - 1)
    low, high = min(prices.values()), max(prices.values())
    assert told["kaiko.cross_exchange_spread"] == pytest.approx((high - low) / low)


def test_one_exchange_alone_has_no_spread() -> None:
    alone = [Metric("kaiko.vwap_krkn", "BTC", 5, 100.0), Metric("kaiko.vwap_krkn", "BTC", 6, 101.0)]

    assert Kaiko().derive(alone) == []


def test_exchanges_are_compared_at_the_same_time_only() -> None:
    apart = [Metric("kaiko.vwap_krkn", "BTC", 5, 100.0), Metric("kaiko.vwap_cbse", "BTC", 6, 101.0)]

    assert Kaiko().derive(apart) == []
