import pytest

from dataflows.replay.answers import Request as Asked
from dataflows.replay.companion import defillama as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import DAY, Request
from engine.providers.defillama import DefiLlama
from engine.providers.defillama_chains import CHAINS, locked
from tests.providers import (
    ASSETS,
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
    spending,
)

UNUSED = {
    "protocols": "10 MB for what chains and three protocols tell",
    "yields_pools": "10 MB for what two pools of reference tell",
    "stablecoinchains": "/stablecoins has it, with the day before",
    "stablecoincharts_all": "/stablecoins has the day and the week before",
}


def said(what: str) -> dict[tuple[str, str], float]:
    one = recorded("defillama", what)
    return {
        (metric.name.removeprefix("defillama."), metric.asset): metric.value
        for metric in DefiLlama().parse(one.request, one.body)
    }


def test_it_keeps_the_provider_contract() -> None:
    check_provider(DefiLlama(), companion.answer, behind=DAY)


@pytest.mark.parametrize("recording", recordings("defillama"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(DefiLlama(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(DefiLlama(), UNUSED)


def test_of_chains_with_the_same_coin_the_one_with_its_name_counts() -> None:
    assert said("v2_chains_alike") == {
        ("chain_tvl", "OP"): 4e8,
        ("chain_tvl", "POL"): 1.1e9,
        ("chain_tvl", "BNB"): 6e9,
    }


def test_of_chains_with_its_coin_only_the_largest_counts() -> None:
    rows = [
        {"gecko_id": "near", "name": name, "tvl": tvl} for name, tvl in (("A", 1.0), ("B", "3"), ("C", 2.0))
    ]

    assert locked("NEAR", rows) == locked("NEAR", rows[::-1]) == 3.0
    assert locked("NEAR", [{"name": "NEAR"}]) is None


def test_stablecoins_of_dollars_are_summed_and_their_flow_is_of_those_with_a_past() -> None:
    found = said("stablecoins_some")

    assert found["stablecoin_cap", ""] == pytest.approx(1.8e11 + 1e9)
    assert found["stablecoin_flow_1d", ""] == pytest.approx(1e9)
    assert found["stablecoin_change_1d", ""] == pytest.approx(180 / 179 - 1)
    assert found["stablecoin_change_7d", ""] == pytest.approx(180 / 175 - 1)
    assert found["chain_stablecoins", "ETH"] == pytest.approx(8e10)
    assert found["chain_stablecoins", "BNB"] == pytest.approx(1e9)
    assert found["chain_stablecoin_change_7d", "ETH"] == pytest.approx(0.25)
    assert ("chain_stablecoin_change_7d", "BNB") not in found


def test_a_price_is_applied_and_one_that_no_dollar_had_is_not() -> None:
    row = {"pegType": "peggedUSD", "circulating": {"peggedUSD": 100.0}}
    asked = recorded("defillama", "stablecoins").request
    caps = [
        DefiLlama().parse(asked, {"peggedAssets": [{**row, "price": price}]})[0].value
        for price in (0.97, None, 43.0)
    ]

    assert caps == [97.0, 100.0, 100.0]


def test_days_and_percents_are_normalised() -> None:
    assert said("overview_dexs") == {("dex_volume", ""): 1.05e10, ("dex_volume_change_1d", ""): -0.045}
    assert said("overview_fees") == {("fees", ""): 6.4e7}
    assert said("yields_chart") == {("staking_yield", "ETH"): pytest.approx(0.0275)}


def test_a_history_gives_its_newest_rows_and_none_from_later_than_the_question() -> None:
    asked = Request("/v2/historicalChainTvl", metric="total_tvl", at=40 * DAY + 5)
    body = [{"date": str(day * 86_400), "tvl": 1e9 + day} for day in (50, 41, 40, 39, 38, 1)]

    found = DefiLlama(days=3).parse(asked, body)

    assert [(metric.time // DAY, metric.value) for metric in found] == [
        (day, 1e9 + day) for day in (38, 39, 40)
    ]


@pytest.mark.parametrize("body", [0, -5.0, 17, None, "soon", {"tvl": 5e9}, [5e9], float("inf")])
def test_a_protocol_that_cannot_be_is_unreadable(body: object) -> None:
    with pytest.raises(Unreadable, match="defillama tvl_aave: found"):
        DefiLlama().parse(Request("/tvl/aave", metric="tvl_aave", at=5), body)


def test_errors_are_recognised() -> None:
    told, gone = recorded("defillama", "error_in_200"), recorded("defillama", "error_400")

    with pytest.raises(SourceError, match="defillama staking_yield: pool not found"):
        DefiLlama().parse(told.request, told.body)
    assert isinstance(DefiLlama().fault(gone.status, gone.headers, gone.body), NotServed)


def test_a_chain_tells_its_history_before_how_it_stands() -> None:
    asked = [request.metric for request in DefiLlama().requests(ASSETS, NOW)]

    assert asked.index("chains") == asked.count("chain_tvl") == len(CHAINS)


def test_it_asks_politely() -> None:
    asked = list(DefiLlama().requests(ASSETS, NOW))

    assert not any(request.path in ("/protocols", "/pools") for request in asked)
    assert "/v2/historicalChainTvl/OP%20Mainnet" in {request.path for request in asked}
    assert {request.asset for request in asked if request.metric == "chain_tvl"} == set(CHAINS)
    assert spending(DefiLlama(), ASSETS, DAY / 1000) == 9 + 2 * 48 + 6 * 24 + 2 * 4


def test_the_companion_answers_strangers_as_the_original_does() -> None:
    def told(path: str) -> tuple[int, bytes]:
        answer = companion.answer(Asked("GET", path, {}, {}), NOW, Numbers(1))
        return answer.status, answer.body

    assert told("/tvl/nobody") == (400, b"Protocol not found")
    assert told("/v2/historicalChainTvl/Atlantis") == (400, b"Chain not found")
    assert told("/@yields/chart/nowhere")[0] == told("/overview/dreams")[0] == 404
