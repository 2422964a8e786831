"""What is read beside candles: futures statistics, providers, news feeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from engine.settings.block import Block
from engine.settings.values import Count, Positive, Rest, Share, SourceName, address, is_loopback


class FuturesData(Block):
    """Futures statistics of the contracts, whatever market the candles are from."""

    enabled: bool = True
    every: Positive = 300
    premium_every: Positive = 60
    liquidations: bool = True


class Polled(Block):
    """One provider: whether, where, how often and how much at most it is asked.

    `enabled` null = with a key in the environment. `keyless` is where it is asked without one.
    """

    enabled: bool | None = None
    base_url: Rest
    hosts: Mapping[SourceName, Rest] = {}
    keyless: Rest | None = None
    every: Positive = 3600
    timeout: Positive = 10
    per_minute: Count = 60
    per_day: Count | None = None
    per_month: Count | None = None


class Providers(Block):
    """The twelve premium and the three free ones."""

    glassnode: Polled = Polled(base_url="https://api.glassnode.com/v1")
    santiment: Polled = Polled(
        base_url="https://api.santiment.net", every=14_400, per_minute=30, per_month=1000
    )
    cryptoquant: Polled = Polled(base_url="https://api.cryptoquant.com/v1", per_minute=20)
    nansen: Polled = Polled(
        base_url="https://api.nansen.ai/api/v1", every=21_600, per_minute=20, per_month=2000
    )
    kaiko: Polled = Polled(base_url="https://us.market-api.kaiko.io", every=300, per_minute=600)
    coinmetrics: Polled = Polled(
        base_url="https://api.coinmetrics.io/v4", keyless="https://community-api.coinmetrics.io/v4"
    )
    messari: Polled = Polled(base_url="https://api.messari.io", per_minute=20)
    lunarcrush: Polled = Polled(
        base_url="https://lunarcrush.com/api4/public", every=900, per_minute=10, per_day=2000
    )
    token_terminal: Polled = Polled(base_url="https://api.tokenterminal.com/v2")
    intotheblock: Polled = Polled(base_url="https://min-api.cryptocompare.com", per_minute=30)
    artemis: Polled = Polled(base_url="https://data-svc.artemisxyz.com")
    thetie: Polled = Polled(
        base_url="https://terminal-api.thetie.io/v1",
        hosts={"trending": "https://terminal.thetie.io/v1"},
        every=900,
    )
    defillama: Polled = Polled(
        enabled=True,
        base_url="https://api.llama.fi",
        hosts={"stablecoins": "https://stablecoins.llama.fi", "yields": "https://yields.llama.fi"},
        every=1800,
        timeout=30,
        per_minute=30,
    )
    alternative_me: Polled = Polled(enabled=True, base_url="https://api.alternative.me", per_minute=10)
    coingecko: Polled = Polled(
        enabled=True,
        base_url="https://api.coingecko.com/api/v3",
        every=900,
        per_minute=25,
        per_day=300,
    )


def feed_address(text: str) -> str:
    """An address as it stands: to some servers one without its last slash is another page.

    >>> feed_address("https://coin.example/feed/")
    'https://coin.example/feed/'
    """
    address("https", "http")(text)
    return text


FeedAddress = Annotated[str, AfterValidator(feed_address)]


class FeedSource(Block):
    """One RSS or Atom feed; `weight` is how far it is believed."""

    url: FeedAddress
    weight: Share = 0.5
    kind: Literal["news", "social"] = "news"
    enabled: bool = True
    every: Positive | None = None


class News(Block):
    """Headlines; `half_life` and `window` are in hours, `every` in seconds of stream time.

    `contact` is told to the feeds with the engine's name, for those that want to know whom to write to. With
    `local` feeds may be on this machine, and there without https.
    """

    enabled: bool = True
    every: Positive = 180
    half_life: Positive = 6
    window: Annotated[float, Field(gt=0, le=168)] = 48
    local: bool = False
    contact: Annotated[str, Field(pattern=r"^[ -~]{0,100}$")] = ""
    feeds: Mapping[SourceName, FeedSource] = {}

    @model_validator(mode="after")
    def encrypted(self) -> Self:
        for name, feed in self.feeds.items():
            parts = urlsplit(feed.url)
            here = self.local and is_loopback(parts.hostname or "")
            if not here and (parts.scheme, parts.port or 443) != ("https", 443):
                # The path may be somebody's own, with a token in it.
                raise ValueError(
                    f"feeds.{name}.url must be https://host on its usual port; was {parts.scheme}://{parts.netloc}"
                )
        return self
