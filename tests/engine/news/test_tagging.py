"""Which assets a headline is about: measured on headlines labelled before, and case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.news.names import known
from engine.news.tagging import assets_of, unnamed
from engine.symbols import KNOWN, asset_of
from tests.engine.news.labelled import labelled


def test_precision_and_recall_on_the_labelled_headlines() -> None:
    rows = [(set(assets_of(row.title)), row.assets) for row in labelled()]
    right = sum(len(told & wanted) for told, wanted in rows)

    assert right / sum(len(told) for told, _ in rows) >= 0.97
    assert right / sum(len(wanted) for _, wanted in rows) >= 0.93


def test_the_labelled_headlines_speak_of_every_asset_and_of_none() -> None:
    rows = labelled()

    assert len(rows) >= 230
    assert {asset for row in rows for asset in row.assets} == set(known().assets)
    assert sum(not row.assets for row in rows) >= 60


def test_every_listed_asset_has_its_names() -> None:
    assert {asset_of(symbol) for symbol in KNOWN} <= set(known().assets)


@pytest.mark.parametrize("asset", sorted(known().assets))
def test_a_cashtag_counts_in_any_case_and_any_title(asset: str) -> None:
    assert assets_of(f"Why i am watching ${asset.lower()} now") == (asset,)
    assert assets_of(f"${asset} TO THE MOON AND BACK") == (asset,)
    assert assets_of(f"{asset}USDT and {asset}/USD open higher") == (asset,)


@pytest.mark.parametrize(
    "title",
    [
        "Please link your account near the dot at the top",
        "The op was a success, says the arb desk, and pol means policy",
        "BITCOIN CASH AND ETHEREUM CLASSIC NEAR THE LINK OF A DOT",
        "Hikers escape avalanche in the Alps",
        "Optimism about jobs lifts the market",
        "Draw a polygon with five sides",
        "Shiba inu wins dog show",
        "Lost in the ether: a memoir",
        "Treasury employees sue over DOGE access",
        "Import your WIF private key",
        "Cosy barn BNB opens for guests",
    ],
)
def test_words_that_only_look_like_assets_do_not_count(title: str) -> None:
    assert assets_of(title) == ()


@pytest.mark.parametrize(
    ("title", "assets"),
    [
        ("Arbitrum, Optimism and Polygon cut fees", ("ARB", "OP", "POL")),
        ("Optimism up 12% on the day", ("OP",)),
        ("Avalanche validators vote", ("AVAX",)),
        ("Bitcoin & Gold: two hedges", ("BTC",)),
        ("Bitcoin’s and Solana's week", ("BTC", "SOL")),
        ("ETH-BTC ratio", ("ETH", "BTC")),
        ("Bitcoin, bitcoin and BTC", ("BTC",)),
    ],
)
def test_names_are_found_in_the_order_of_their_mention(title: str, assets: tuple[str, ...]) -> None:
    assert assets_of(title) == assets


def test_the_summary_backs_a_doubtful_name_and_adds_none() -> None:
    assert assets_of("Avalanche hits the news") == ()
    assert assets_of("Avalanche hits the news", "The blockchain and Bitcoin") == ("AVAX",)


def test_a_title_loses_the_words_of_its_names() -> None:
    assert unnamed("Optimism (OP) and Shiba Inu gain") == "OP (OP) and SHIB gain"


@examples(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_known_assets_once(text: str) -> None:
    told = assets_of(text, text)

    assert len(set(told)) == len(told)
    assert set(told) <= set(known().assets)
    unnamed(text)
