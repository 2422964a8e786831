"""Every source beside the candles that the settings want, ready to run.

A market that is not the live one is never told today's numbers: they would be its future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from dataflows.connectors.futures import FuturesSource
from dataflows.connectors.hearing import Hearing, Source
from dataflows.connectors.news import NewsSource
from dataflows.connectors.providers import Pollers
from engine.errors import SettingsError
from engine.providers import FUTURES, PROMISES, PROVIDERS
from engine.records import Headline
from engine.settings import Settings
from engine.settings.keys import provider_keys
from engine.settings.sources import Providers
from engine.settings.values import is_loopback

FUTURE: Final = "the market is a replay: today's numbers would be its future"


@dataclass(frozen=True)
class Silenced:
    """Sources that are not asked, and why."""

    reasons: Mapping[str, str]

    async def run(self, hearing: Hearing) -> None:
        """There is nothing to do."""

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            name: {"state": "disabled", "reason": reason, "last_success": None, "metrics": {}}
            for name, reason in self.reasons.items()
        }


def sources(
    settings: Settings, environ: Mapping[str, str], known: Callable[[], Iterable[Headline]]
) -> list[Source]:
    """What is to be heard beside the candles; `known` answers the headlines that are journaled."""
    settings, silenced = of_this_time(settings)
    keys = provider_keys((one.key for one in PROVIDERS.values()), environ)
    out: list[Source] = [Pollers(settings, keys, settings.storage.folder)]
    if settings.futures.enabled:
        out.append(FuturesSource(settings))
    if settings.news.enabled:
        out.append(NewsSource(settings, known))
    return [*out, Silenced(silenced)] if silenced else out


def require_mapped(settings: Settings) -> None:
    """Raise `SettingsError` where a metric that may come has no line in `metrics`."""
    if unread := unmapped(settings):
        raise SettingsError(
            f"metrics: no line for {', '.join(unread)}: map each to a component of a layer, or say why it is "
            "only `stored`; the config.yaml that ships has them all"
        )


def unmapped(settings: Settings) -> list[str]:
    """The metrics that may come and that no line of `metrics` reads or stores."""
    heard = {*Providers.model_fields, *([FUTURES.name] if settings.futures.enabled else [])}
    readers = settings.readers
    return sorted(name for name in PROMISES if name.partition(".")[0] in heard and name not in readers)


def of_this_time(settings: Settings) -> tuple[Settings, dict[str, str]]:
    """The settings without the sources of another time than the exchange's, and those by name."""
    if not here(settings.exchange.rest):
        return settings, {}
    blocks = {name: getattr(settings.providers, name) for name in Providers.model_fields}
    away = {name for name, block in blocks.items() if not here(block.base_url)}
    providers = settings.providers.model_copy(
        update={name: blocks[name].model_copy(update={"enabled": False}) for name in away}
    )
    futures, news = settings.futures, settings.news
    if not here(settings.binance.um.rest):
        futures = futures.model_copy(update={"enabled": False})
        away |= {"binance_futures"} if settings.futures.enabled else set()
    feeds = {name: feed for name, feed in news.feeds.items() if here(feed.url)}
    away |= {"news"} if news.enabled and not feeds else set()
    news = news.model_copy(update={"feeds": feeds, "enabled": news.enabled and bool(feeds)})
    shown = {name: FUTURE for name in sorted(away) if wanted(name, settings)}
    update = {"providers": providers, "futures": futures, "news": news}
    return settings.model_copy(update=update), shown


def wanted(name: str, settings: Settings) -> bool:
    """Whether a source was asked for in so many words; one that waits for a key is told elsewhere."""
    block = getattr(settings.providers, name, None)
    return block is None or block.enabled is True


def here(url: str) -> bool:
    """Whether an address is on this machine."""
    return is_loopback(urlsplit(url).hostname or "")
