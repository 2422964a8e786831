"""The alias table: one name at any date, a hole where nothing traded, near names in every refusal."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UnknownSymbol
from engine.records import Listing
from engine.settings import Settings
from engine.symbols import (
    BY_NAME,
    MARKETS,
    TABLE,
    Alias,
    Market,
    asset_of,
    canonical,
    instant,
    listing,
    names,
    resolve,
)

MATIC_ENDS: Final = 1_725_937_200_000  # 2024-09-10 03:00 UTC
POL_BEGINS: Final = 1_726_221_600_000  # 2024-09-13 10:00 UTC
TODAY: Final = 1_780_000_000_000
MS: Final = st.integers(min_value=1_500_000_000_000, max_value=1_900_000_000_000)
ASSETS: Final = st.from_regex(r"[A-Z0-9]{2,8}", fullmatch=True).filter(lambda name: not name.endswith("USDT"))


def test_every_symbol_of_the_specification_is_in_the_table_on_both_markets() -> None:
    known = {(alias.symbol, alias.market) for alias in TABLE}

    assert known == {(symbol, market) for symbol in Settings().all_symbols for market in MARKETS}


def test_no_name_means_two_things_and_no_two_names_overlap() -> None:
    assert len(BY_NAME) == len(TABLE)
    for symbol in Settings().all_symbols:
        for market in MARKETS:
            for earlier, later in pairwise(names(symbol, market)):
                assert earlier.ends is not None
                assert earlier.ends <= later.begins


class TestPolygon:
    def test_its_candles_were_matic_until_the_last_one_closed(self) -> None:
        assert resolve("POLUSDT", MATIC_ENDS).exchange_symbol == "MATICUSDT"
        assert resolve("POLUSDT", 1_600_000_000_000).exchange_symbol == "MATICUSDT"

    def test_its_candles_are_pol_from_the_first_one_that_closed(self) -> None:
        assert resolve("POLUSDT", POL_BEGINS + 60_000).exchange_symbol == "POLUSDT"
        assert resolve("POLUSDT", TODAY).exchange_symbol == "POLUSDT"

    @given(at_ms=st.integers(min_value=MATIC_ENDS + 1, max_value=POL_BEGINS))
    def test_between_the_two_it_did_not_trade(self, at_ms: int) -> None:
        with pytest.raises(UnknownSymbol, match="POLUSDT did not trade on spot at 2024-09-1"):
            resolve("POLUSDT", at_ms)

    @given(at_ms=MS, market=st.sampled_from(MARKETS))
    def test_its_former_name_means_it_at_any_date(self, at_ms: int, market: Market) -> None:
        def answer(symbol: str) -> Alias | str:
            try:
                return resolve(symbol, at_ms, market)
            except UnknownSymbol as error:
                return str(error)

        assert answer("MATICUSDT") == answer("POLUSDT")

    def test_the_signal_is_called_pol_before_the_rename_too(self) -> None:
        found = listing("POLUSDT", "alts", "spot", MATIC_ENDS)

        assert found == Listing("POLUSDT", "MATICUSDT", "POL", "alts")

    def test_the_futures_contract_has_dates_of_its_own(self) -> None:
        assert resolve("POLUSDT", instant("2024-09-13T13:00+00:00"), "um").exchange_symbol == "POLUSDT"
        with pytest.raises(UnknownSymbol, match="did not trade on um"):
            resolve("POLUSDT", instant("2024-09-13T12:00+00:00"), "um")


class TestThousands:
    @pytest.mark.parametrize("asset", ["PEPE", "SHIB", "FLOKI", "BONK"])
    def test_their_contract_holds_a_thousand_coins(self, asset: str) -> None:
        future = listing(f"{asset}USDT", "memes", "um", TODAY, tick=0.001)
        spot = listing(f"{asset}USDT", "memes", "spot", TODAY, tick=1e-8)

        assert future == Listing(f"{asset}USDT", f"1000{asset}USDT", asset, "memes", 1000, 0.000001)
        assert spot == Listing(f"{asset}USDT", f"{asset}USDT", asset, "memes", 1, 1e-8)

    def test_only_the_table_knows_a_multiplier(self) -> None:
        assert canonical("1000SATSUSDT", "um") == ("1000SATSUSDT", 1)
        assert canonical("1000PEPEUSDT", "um") == ("PEPEUSDT", 1000)

    def test_a_contract_is_no_symbol(self) -> None:
        with pytest.raises(
            UnknownSymbol, match="1000PEPEUSDT is a contract on um; its coin is called PEPEUSDT"
        ):
            names("1000PEPEUSDT", "um")

    def test_a_name_of_the_other_market_is_told_apart(self) -> None:
        with pytest.raises(UnknownSymbol, match="um has no PEPEUSDT: there it is 1000PEPEUSDT"):
            canonical("PEPEUSDT", "um")
        with pytest.raises(UnknownSymbol, match="spot has no 1000PEPEUSDT: there it is PEPEUSDT"):
            canonical("1000PEPEUSDT", "spot")


class TestAnyOtherSymbol:
    @given(asset=ASSETS, at_ms=MS, market=st.sampled_from(MARKETS))
    def test_it_has_its_own_name_always(self, asset: str, at_ms: int, market: Market) -> None:
        symbol = f"{asset}USDT"
        if symbol in {name for alias in TABLE for name in (alias.symbol, alias.exchange_symbol)}:
            return

        assert resolve(symbol, at_ms, market) == Alias(asset, market, symbol)
        assert canonical(symbol, market) == (symbol, 1)

    def test_it_may_be_written_in_any_script(self) -> None:
        assert asset_of("币安人生USDT") == "币安人生"

    @pytest.mark.parametrize(
        ("symbol", "near"),
        [
            ("btcusdt", "BTCUSDT"),
            ("BTCUSDT ", "BTCUSDT"),
            ("BTCUSD", "BTCUSDT"),
            ("ETHUDST", "ETHUSDT"),
            ("DOGE", "DOGEUSDT"),
        ],
    )
    def test_a_misspelt_one_is_answered_with_near_ones(self, symbol: str, near: str) -> None:
        for refuse in (
            asset_of,
            names,
            lambda name: canonical(name, "spot"),
            lambda name: resolve(name, TODAY),
        ):
            with pytest.raises(UnknownSymbol, match=f"is not a USDT pair in capitals; near: .*{near}"):
                refuse(symbol)

    @pytest.mark.parametrize("symbol", ["", "USDT", "ETHBTC", "BTCUSDT_250328"])
    def test_what_is_no_usdt_pair_is_refused(self, symbol: str) -> None:
        with pytest.raises(UnknownSymbol, match="is not a USDT pair"):
            resolve(symbol, TODAY)


@given(at_ms=MS, market=st.sampled_from(MARKETS), symbol=st.sampled_from(Settings().all_symbols))
def test_there_and_back_gives_the_same_symbol(at_ms: int, market: Market, symbol: str) -> None:
    try:
        alias = resolve(symbol, at_ms, market)
    except UnknownSymbol:
        assert symbol == "POLUSDT"
        return

    assert alias.covers(at_ms)
    assert canonical(alias.exchange_symbol, market) == (symbol, alias.multiplier)
