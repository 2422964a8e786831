import pytest

from dataflows.replay.companion import coingecko as companion
from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import DAY, HOUR
from engine.providers.coingecko import IDS, CoinGecko
from tests.providers import (
    ASSETS,
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    exchange,
    recorded,
    recordings,
    spending,
)

UNUSED = {
    "coins_list": "ids are a table of ours",
    "market_chart": "candles come from the exchange",
    "ping": "says nothing",
    "simple_price": "candles come from the exchange",
}


def said(what: str) -> dict[tuple[str, str], float]:
    one = recorded("coingecko", what)
    return {
        (metric.name.removeprefix("coingecko."), metric.asset): metric.value
        for metric in CoinGecko().parse(one.request, one.body)
    }


def test_it_keeps_the_provider_contract() -> None:
    check_provider(CoinGecko(), companion.answer, behind=HOUR)


@pytest.mark.parametrize("recording", recordings("coingecko"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(CoinGecko(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(CoinGecko(), UNUSED)


def test_all_coins_are_one_call_and_all_calls_fit_into_a_day() -> None:
    plug = CoinGecko()
    asked = list(plug.requests(ASSETS, NOW))

    assert set(asked[0].params["ids"].split(",")) == set(IDS.values())
    assert len(asked) == 4
    assert spending(plug, ASSETS, DAY / 1000) == 244


def test_percents_become_fractions() -> None:
    coin, market = said("coins_markets"), said("global")

    assert coin["market_cap_change_24h", "SOL"] == pytest.approx(-0.02)
    assert coin["below_ath", "SOL"] == pytest.approx(-0.5)
    assert coin["turnover", "SOL"] == pytest.approx(0.05)
    assert market["btc_dominance", ""] == pytest.approx(0.575)
    assert market["total_market_cap_change_24h", ""] == pytest.approx(0.0175)
    assert said("global_defi")["defi_dominance", ""] == pytest.approx(0.0375)


def test_what_a_row_does_not_hold_is_not_told() -> None:
    # Without a market cap there is no turnover, without a time nothing at all; strangers are skipped.
    assert said("coins_markets_sparse") == {("volume_24h", "PEPE"): 3.5e8, ("below_ath", "PEPE"): -0.75}


def test_a_trending_coin_counts_by_its_place_and_the_others_nothing() -> None:
    found = said("search_trending")

    assert found["trending", "WIF"] == pytest.approx(0.8)
    assert found["trending", "FLOKI"] == pytest.approx(0.2)
    assert sum(value for (_, asset), value in found.items() if asset not in ("WIF", "FLOKI")) == 0
    assert {asset for _, asset in found} == set(ASSETS)


def test_a_list_without_places_does_not_say_that_nothing_is_trending() -> None:
    asked = recorded("coingecko", "search_trending").request

    for coins in ([], [{"item": {"id": "floki", "score": None}}]):
        with pytest.raises(Unreadable, match="coingecko trending: no coin of the list has a place"):
            CoinGecko().parse(asked, {"coins": coins})


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("error_10002", Refused),
        ("error_10005", NotServed),
        ("error_10010", Refused),
        ("error_10011", Refused),
        ("error_429", RateLimited),
    ],
)
def test_the_code_in_the_body_says_what_an_error_means(what: str, kind: type[SourceError]) -> None:
    told = recorded("coingecko", what)
    fault = CoinGecko().fault(told.status, told.headers, told.body)

    assert type(fault) is kind
    assert told.body["status"]["error_message"] in str(fault)
    with pytest.raises(kind):
        CoinGecko().parse(told.request, told.body)


def test_an_answer_to_another_question_is_unreadable() -> None:
    market, coins = recorded("coingecko", "global"), recorded("coingecko", "coins_markets")

    with pytest.raises(Unreadable, match="coingecko coins: the answer is dict, not a list"):
        CoinGecko().parse(coins.request, market.body)
    with pytest.raises(Unreadable, match="coingecko global: data is missing or null, not an object"):
        CoinGecko().parse(market.request, coins.body)


def test_the_companion_leaves_out_a_coin_it_does_not_know() -> None:
    [request, *_] = CoinGecko().requests(["BTC", "WIF"], NOW)
    [(_, body), *_] = exchange(CoinGecko(), companion.answer)

    assert request.params["ids"] == "bitcoin,dogwifcoin"
    assert [row["id"] for row in body][:2] == ["bitcoin", "ethereum"]
