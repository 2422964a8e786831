"""What happens in the simulated world, told as headlines: our own templates, one story in many words.

A story is a pure function of seed and slot; none knows of a price, so headlines never tell the future.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np

SLOT: Final = 8 * 60_000
"""One story begins in each slot, ms."""

ASSETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "Bitcoin",
        "ETH": "Ethereum",
        "BNB": "BNB",
        "SOL": "Solana",
        "AVAX": "Avalanche",
        "LINK": "Chainlink",
        "DOT": "Polkadot",
        "POL": "Polygon",
        "NEAR": "Near Protocol",
        "ARB": "Arbitrum",
        "OP": "OP Mainnet",
        "PEPE": "Pepe",
        "DOGE": "Dogecoin",
        "SHIB": "Shiba Inu",
        "FLOKI": "Floki",
        "BONK": "Bonk",
        "WIF": "dogwifhat",
    }
)
"""How people write of each asset."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of event; `tone` is what its words say, -1..1; without assets it is about the whole market."""

    name: str
    tone: float
    words: tuple[str, ...]
    weight: float = 1.0


TOPICS: Final = (
    Topic(
        "rally",
        0.7,
        (
            "{name} rallies {pct}% as buyers return",
            "{ticker} jumps {pct}% in strong session",
            "Buyers push {name} up {pct}%",
            "{name} ({ticker}) surges, gaining {pct}% on the day",
            "Why {name} is up {pct}% today",
        ),
        2.0,
    ),
    Topic(
        "slump",
        -0.7,
        (
            "{name} slides {pct}% as sellers take over",
            "{ticker} drops {pct}% in broad selloff",
            "Sellers drag {name} down {pct}%",
            "{name} ({ticker}) tumbles, losing {pct}% on the day",
            "Why {name} is down {pct}% today",
        ),
        2.0,
    ),
    Topic(
        "hack",
        -0.9,
        (
            "Exploit drains ${amount}M from {name} lending protocol",
            "Hackers steal ${amount}M in attack on {name} app",
            "{name} DeFi protocol hacked, ${amount}M lost",
            "${amount}M gone after exploit on {name}",
        ),
    ),
    Topic(
        "fund",
        0.6,
        (
            "{name} funds take in ${amount}M in a day",
            "Inflows of ${amount}M for {name} ETFs",
            "Institutions add ${amount}M of {ticker} through funds",
            "{ticker} funds see strong demand with ${amount}M of inflows",
        ),
        1.5,
    ),
    Topic(
        "outflow",
        -0.5,
        (
            "{name} funds lose ${amount}M as investors withdraw",
            "Outflows of ${amount}M hit {name} ETFs",
            "Investors pull ${amount}M out of {ticker} funds",
        ),
    ),
    Topic(
        "upgrade",
        0.4,
        (
            "{name} upgrade goes live without trouble",
            "Developers ship long awaited {name} upgrade",
            "{name} completes network upgrade, fees fall",
            "{ticker} holders welcome successful upgrade",
        ),
    ),
    Topic(
        "outage",
        -0.6,
        (
            "{name} network halts for {pct} hours",
            "Outage stops {name}, developers investigate",
            "{name} transactions stuck after network failure",
        ),
        0.5,
    ),
    Topic(
        "lawsuit",
        -0.6,
        (
            "Regulator sues company behind {name}",
            "{name} backers face lawsuit from regulator",
            "Lawsuit over {ticker} sales filed by regulator",
        ),
        0.7,
    ),
    Topic(
        "approval",
        0.7,
        (
            "Regulator approves {name} fund",
            "{name} wins approval for a listed fund",
            "Green light for {ticker} fund, regulator says",
        ),
        0.7,
    ),
    Topic(
        "partner",
        0.5,
        (
            "Payment company partners with {name}",
            "{name} wins payment partner in new deal",
            "Partnership brings {ticker} payments to shops",
        ),
    ),
    Topic(
        "whale",
        -0.3,
        (
            "Whale moves ${amount}M of {ticker} to exchange",
            "${amount}M of {name} sent to exchange by large holder",
            "Large {name} holder prepares to sell? ${amount}M moved",
        ),
    ),
    Topic(
        "calm",
        0.0,
        (
            "{name} trades sideways ahead of the weekend",
            "{ticker} little changed as volume stays thin",
            "Quiet day for {name}: what traders watch next",
        ),
        1.5,
    ),
    Topic(
        "doubt",
        -0.4,
        (
            "{name} fails to break resistance, traders not convinced",
            "No breakout for {ticker}: buyers step back",
            "Analyst warns of further losses for {name}",
        ),
    ),
    Topic(
        "market_up",
        0.5,
        (
            "Crypto market gains ${amount}B as risk appetite returns",
            "Crypto market cap climbs, ${amount}B added",
            "Optimism is back: crypto adds ${amount}B",
        ),
        0.8,
    ),
    Topic(
        "market_down",
        -0.5,
        (
            "Crypto market sheds ${amount}B amid fear of higher rates",
            "${amount}B wiped off crypto market",
            "Fear near a high as crypto loses ${amount}B",
        ),
        0.8,
    ),
)


@dataclass(frozen=True, slots=True)
class Story:
    """One event: when it became known, ms UTC, whose it is (the market's: `asset` is ""), its figures."""

    slot: int
    time: int
    topic: Topic
    asset: str
    pct: int
    amount: int

    def headline(self, variant: int) -> str:
        """It in the words of one who writes about it."""
        words = self.topic.words[variant % len(self.topic.words)]
        name = ASSETS.get(self.asset, self.asset)
        return words.format(name=name, ticker=self.asset, pct=self.pct, amount=self.amount)


@lru_cache(maxsize=4096)
def story(seed: int, slot: int, assets: tuple[str, ...]) -> Story:
    """What happened in a slot; the first assets are written about most.

    >>> told = story(1, 3_000_000, ("BTC", "ETH"))
    >>> told.headline(0) != told.headline(1), told == story(1, 3_000_000, ("BTC", "ETH"))
    (True, True)
    """
    rng = np.random.default_rng([seed, 0x5702, slot])
    weights = np.array([topic.weight for topic in TOPICS])
    topic = TOPICS[int(rng.choice(len(TOPICS), p=weights / weights.sum()))]
    place = min(int(rng.exponential(len(assets) / 3)), len(assets) - 1)
    return Story(
        slot=slot,
        time=slot * SLOT + int(rng.integers(SLOT)),
        topic=topic,
        asset="" if topic.name.startswith("market") else assets[place],
        pct=int(rng.integers(2, 15)),
        amount=int(rng.integers(3, 400)),
    )
