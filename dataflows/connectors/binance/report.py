"""What the feed says once a second: the bodies of `status:streams`, `status:serving`, `status:providers`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from dataflows.connectors.activations import Activations
from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance import status
from dataflows.connectors.binance.intake import Intake
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.roster import Roster
from dataflows.connectors.binance.shards import Shards
from dataflows.connectors.binance.watch import Watch
from dataflows.connectors.hearing import Source
from engine.records import Feed, Status
from engine.settings import Settings

EVERY: Final = 1.0
"""Wall seconds between two reports."""

REPLACE_AGAIN: Final = 300.0
"""Wall seconds between two replacements of one connection because one of its symbols is silent."""

Phase = Literal["starting", "warming", "serving"]


class Report:
    """Puts the bodies into the mailbox, and has the connection of a silent symbol replaced."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        rest: Rest,
        roster: Roster,
        outbox: Outbox,
        watch: Watch,
        activations: Activations,
        sources: Sequence[Source],
        mailbox: Mailbox,
        every: float = EVERY,
    ) -> None:
        self.phase: Phase = "starting"
        self.progress = 0.0
        self.feed: Feed = "live"
        self._settings = settings
        self._silent_after = round(settings.binance.silent_after * 1000)
        self._intake = intake
        self._rest = rest
        self._roster = roster
        self._outbox = outbox
        self._watch = watch
        self._activations = activations
        self._sources = sources
        self._mailbox = mailbox
        self._every = every
        self._replaced: dict[str, float] = {}

    def gathered(self, share: float) -> None:
        """History is here to this share."""
        self.progress = share

    async def run(self, shards: Shards) -> None:
        """Report until cancelled."""
        while True:
            silent = self._intake.silent(self._silent_after) if self.phase == "serving" else {}
            self._replace(shards, silent)
            faults = self.faults(shards, silent)
            self._mailbox.put_latest("streams", Status("streams", self.streams(shards, silent, faults)))
            self._mailbox.put_latest("serving", Status("serving", self.serving(faults)))
            self._mailbox.put_latest("providers", Status("providers", self.providers()))
            await asyncio.sleep(self._every)

    def faults(self, shards: Shards, silent: Mapping[tuple[str, str], int]) -> list[str]:
        """Everything that is wrong now, by name."""
        down = {shard.name for shard in shards.all if shard.state in ("connecting", "reconnecting")}
        alone = {key: since for key, since in silent.items() if name_of(shards, key[0]) not in down}
        return [
            *status.connection_faults(shards.all),
            *status.rest_faults(self._rest),
            *status.market_faults(self._intake, alone, time.monotonic()),
            *(f"{symbol} {state}: {why}" for symbol, (state, why) in self._watch.listed.absent.items()),
            *self._activations.faults,
        ]

    def streams(
        self, shards: Shards, silent: Mapping[tuple[str, str], int], faults: list[str]
    ) -> dict[str, Any]:
        """The body of `status:streams`."""
        intervals = self._settings.binance.intervals
        symbols = {
            name: status.absent(state, why) for name, (state, why) in self._watch.listed.absent.items()
        }
        for one in self._roster.expected:
            if one.symbol not in symbols:
                symbols[one.symbol] = status.symbol(one, self._intake, intervals, silent)
        return {
            "connections": [status.connection(shard) for shard in shards.all],
            "symbols": dict(sorted(symbols.items())),
            "rest": status.rest(self._rest),
            "clock": status.clock(self._intake.clock),
            "corrupt": self._intake.refused.count,
            "faults": faults,
        }

    def providers(self) -> dict[str, Any]:
        """The body of `status:providers`: every source beside the candles, by name."""
        return {"providers": {name: body for one in self._sources for name, body in one.told().items()}}

    def serving(self, faults: list[str]) -> dict[str, Any]:
        """What the feed knows of the body of `status:serving`."""
        decide = self._settings.decide
        symbols = [one.symbol for one in self._roster.expected]
        closes = self._intake.closes
        return {
            "feed": self.feed,
            "stream_time": self._intake.now or self._intake.clock.now_ms(),
            "stream_rate": round(self._intake.clock.rate, 4),
            "wall_time": int(time.time() * 1000),
            "interval": decide.interval,
            "symbols": symbols,
            "minimum": decide.minimum,
            "last_close": {symbol: closes.last(symbol, decide.interval) for symbol in symbols},
            "phase": self.phase,
            "progress": round(self.progress, 4),
            "faults": faults,
            "journal_seq": self._outbox.journaled,
        }

    def _replace(self, shards: Shards, silent: Mapping[tuple[str, str], int]) -> None:
        now = time.monotonic()
        for symbol in {symbol for symbol, _ in silent}:
            shard = shards.of(symbol)
            if shard is None or shard.state != "open" or self._intake.quiet:
                continue
            if now - self._replaced.get(shard.name, -REPLACE_AGAIN) >= REPLACE_AGAIN:
                self._replaced[shard.name] = now
                shard.replace(f"{symbol} silent")


def name_of(shards: Shards, symbol: str) -> str:
    shard = shards.of(symbol)
    return shard.name if shard else ""
