"""Every provider that is switched on, polled side by side: a slow one delays none of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import SecretStr

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.hearing import Hearing, heard
from dataflows.connectors.http.breaker import Breaker
from dataflows.connectors.http.budget import Budget
from dataflows.connectors.http.client import Client
from dataflows.connectors.http.limits import Pace
from dataflows.connectors.http.polite import Polite
from dataflows.connectors.http.redaction import Secrets
from dataflows.connectors.providers.poller import Poller
from dataflows.connectors.providers.status import disabled
from engine.providers import PROVIDERS, Provider
from engine.settings import Settings
from engine.settings.sources import Polled
from engine.symbols import asset_of

BUDGETS: Final = "budgets"
"""The folder of the accounts, in the data folder."""

ENTIRE: Final = 1.0


class Pollers:
    """A poller for each of `providers` that `settings` and `keys` (by environment variable) switch on.

    Accounts of metered providers are kept in `folder`. See `Source`.
    """

    def __init__(
        self,
        settings: Settings,
        keys: Mapping[str, SecretStr],
        folder: Path,
        *,
        providers: Mapping[str, Provider] = PROVIDERS,
        rng: np.random.Generator | None = None,
        wall: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._client = Client(Secrets(key.get_secret_value() for key in keys.values()))
        self._rng = rng or np.random.default_rng()
        self._folder = folder / BUDGETS
        self._wall = wall
        self._unix = unix
        self._off: dict[str, str] = {}
        self._pollers: dict[str, Poller] = {}
        assets = [asset_of(symbol) for symbol in settings.all_symbols]
        for name, provider in providers.items():
            polled: Polled = getattr(settings.providers, name)
            key = keys.get(provider.key)
            if reason := switched_off(provider, polled, key):
                self._off[name] = reason
                continue
            polite = self._polite(name, polled)
            self._pollers[name] = Poller(name, provider, polled, key, polite, assets, wall=wall, unix=unix)
        self._names = tuple(providers)

    async def run(self, hearing: Hearing) -> None:
        """Poll them all for ever."""
        async with self._client, asyncio.TaskGroup() as group:
            for name, poller in self._pollers.items():
                group.create_task(heard(poller, hearing), name=f"provider {name}")
            await asyncio.Event().wait()

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """How each is, in the order of the registry."""
        out: dict[str, Mapping[str, Any]] = {}
        for name in self._names:
            out |= self._pollers[name].told() if name in self._pollers else {name: disabled(self._off[name])}
        return out

    def _polite(self, name: str, polled: Polled) -> Polite:
        return Polite(
            name,
            self._client,
            Pace(polled.per_minute, self._wall),
            Budget(self._folder / f"{name}.json", polled.per_day, polled.per_month, self._unix),
            Breaker(wall=self._wall),
            Backoff(first=1.0, most=15.0, jitter=ENTIRE, rng=self._rng),
            unix=self._unix,
        )


def switched_off(provider: Provider, polled: Polled, key: SecretStr | None) -> str:
    """Why a provider is not asked, "" for one that is.

    A key in the environment switches it on; `enabled: true` does without one where the provider, or its
    keyless address, answers to anybody.
    """
    if polled.enabled is False:
        return "switched off in config.yaml"
    if all(promise.gone for promise in provider.metrics.values()):
        return "it serves none of its metrics any longer"
    if key is not None:
        return ""
    if polled.enabled is None:
        return f"no key: {provider.key} is not set" if provider.key else "not switched on in config.yaml"
    if provider.needs_key and polled.keyless is None:
        return f"needs a key: {provider.key} is not set"
    return ""
