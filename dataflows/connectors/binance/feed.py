"""Binance turned into the totally ordered journal: connect, catch up, then every close once and in order.

It ends only by being cancelled or by an error that a restart must answer; whatever the exchange does is a
fault with a name while the rest goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from dataflows.connectors.activations import Activations, Served
from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.backoff import Backoff, Connects
from dataflows.connectors.binance.closes import Closes
from dataflows.connectors.binance.gathering import Gathering
from dataflows.connectors.binance.history import History, persist
from dataflows.connectors.binance.intake import Intake, Verdict
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.report import EVERY, Report
from dataflows.connectors.binance.rest import LOCAL, Rest
from dataflows.connectors.binance.roster import Roster
from dataflows.connectors.binance.shards import Shards
from dataflows.connectors.binance.stream import Shard
from dataflows.connectors.binance.ticks import Ticks
from dataflows.connectors.binance.watch import Watch
from dataflows.connectors.binance.weights import Weights
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.hearing import Hearing, Source, heard
from dataflows.connectors.journal import Journal
from engine.errors import CorruptRecord, SourceError
from engine.records import INTERVALS, Feed
from engine.settings import Settings

TURN: Final = 0.02
"""Wall seconds between two looks at what is due."""

SAMPLES: Final = (0.02, 0.1, 1.0, 2.0, 5.0, *(10.0,) * 6)
SAMPLE_EVERY: Final = 60.0
"""Wall seconds between two questions for the exchange's time: at first, and from then on."""

CONNECT_PATIENCE: Final = 10.0
"""Wall seconds that history waits for the connections; what they miss by then is asked for later."""

BREATH: Final = 0.005
"""Wall seconds between two looks at whether a full house has emptied."""

REFUTED: Final = 1.0
"""Wall seconds for which the clock's word against a frame from the future is not asked for again."""

CALM: Final = 10_000
"""Ms of stream time around a decision close in which no connection is rotated."""


class BinanceFeed:
    """The feed of one market (`settings.market`): `run` it for ever on the background loop.

    What is journaled reaches `mailbox` as (number, record) after its commit; `Price` and `Status` records
    are conflated there. `feed` names the kind of market in every Live; None = told by the exchange itself.
    The current versions of `shelves` are activated, and what `sources` tell is journaled between the candles.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        mailbox: Mailbox,
        clock: StreamClock | None = None,
        *,
        feed: Feed | None = None,
        shelves: Sequence[Served] = (),
        sources: Sequence[Source] = (),
        report_every: float = EVERY,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or StreamClock()
        binance, exchange = settings.binance, settings.exchange
        self._feed = feed
        self._refuted = -REFUTED
        self._step = INTERVALS[settings.decide.interval]
        self._backoff = Backoff(**binance.backoff.model_dump(), rng=rng or np.random.default_rng())
        self._connects = Connects(binance.connects_per_5_minutes)
        weights = Weights(exchange.weight_per_minute, binance.budget_share)
        self._rest = Rest(exchange.rest, settings.market, weights, self._backoff)
        self._outbox = Outbox(journal, mailbox)
        closes = Closes(round(binance.cross_check_after * 1000))
        ticks = Ticks(self._step, round(settings.gather.grace * 1000))
        self._intake = Intake(closes, ticks, self.clock, self._outbox, mailbox)
        self._history = History(self._rest, self._corrupt_row)
        self._roster = Roster()
        self._sources = sources
        self._hearing = Hearing(self.clock, self._outbox, lambda: self._intake.now)
        self._activations = Activations(shelves, self._outbox, self._closed)
        self._gathering = Gathering(
            settings, journal, self._history, self._intake, self._outbox, self._activations, self._gathered
        )
        self._watch = Watch(settings, self._rest, self._intake, self._outbox, self._gathering, self._roster)
        self._report = Report(
            settings,
            self._intake,
            self._rest,
            self._roster,
            self._outbox,
            self._watch,
            self._activations,
            sources,
            mailbox,
            report_every,
        )

    async def run(self) -> None:
        """Feed until cancelled; raises what only a restart can answer, such as `StorageError`."""
        with unwrapped():
            async with self._rest, asyncio.TaskGroup() as group:
                binance = self.settings.binance
                shards = Shards(self._shard, group, binance.intervals, binance.streams_per_connection)
                group.create_task(self._outbox.run(), name="journal")
                group.create_task(self._report.run(shards), name="report")
                for source in self._sources:
                    group.create_task(self._listen(source), name="source")
                await self._start(shards)
                group.create_task(self._keep_time(), name="clock")
                group.create_task(self._turns(group, shards), name="turns")
                group.create_task(self._watch.run(shards), name="universe")
                group.create_task(self._activations.run(), name="activations")

    async def _start(self, shards: Shards) -> None:
        """Connect first, then fetch: whatever happens between the two is heard and kept."""
        for pause in SAMPLES[:2]:
            await persist(self._sample)
            await asyncio.sleep(pause)
        listings = await self._watch.first()
        self._report.feed = self._feed or feed_of(self._watch.info, self.settings.exchange.rest)
        self._report.phase = "warming"
        self._gathering.expect(listings)
        self._roster.join(listings)
        self._watch.subscribe(shards)
        await shards.opened(CONNECT_PATIENCE)
        server_ms = await persist(self._sample)
        universe = await self._gathering.start(listings, server_ms, self._report.feed)
        self._roster.expect(listings, universe.time)
        self._report.phase = "serving"

    async def _listen(self, source: Source) -> None:
        await self._gathering.begun.wait()
        await heard(source, self._hearing)

    async def _turns(self, group: asyncio.TaskGroup, shards: Shards) -> None:
        while True:
            for ask in self._intake.turn():
                group.create_task(self._repair(ask))
            self._watch.leave(shards, (self._intake.ticks.next or 0) - self._step)
            await asyncio.sleep(TURN)

    async def _repair(self, ask: Ask) -> None:
        try:
            if self._intake.proven < ask.last:
                await self._sample()
            proven = self._intake.proven
            candles = await self._history.fetch(ask)
        except SourceError:
            self._intake.failed(ask)
        else:
            self._intake.answered(ask, [candle for candle in candles if candle.time <= proven])

    async def _keep_time(self) -> None:
        """Sample the exchange's time: often at first and when nothing is heard, else once a minute."""
        pauses = iter(SAMPLES[2:])
        while True:
            end = time.monotonic() + next(pauses, SAMPLE_EVERY)
            await asyncio.sleep(1.0)
            while time.monotonic() < end and not self._intake.quiet:
                await asyncio.sleep(0.25)
            try:
                await self._sample()
            except SourceError:
                continue

    async def _sample(self) -> int:
        sent = self.clock.wall()
        server_ms = await self._rest.time()
        self.clock.sample(sent, self.clock.wall(), server_ms)
        return server_ms

    async def _hear(self, shard: Shard, raw: bytes) -> None:
        verdict = self._intake.hear(raw)
        if verdict == "doubted":
            verdict = await self._confirm(raw)
        if verdict == "ends":
            shard.replace("serverShutdown")
        while self._outbox.full or self._intake.crowded:
            await asyncio.sleep(BREATH)
            self._intake.stalled()

    async def _confirm(self, raw: bytes) -> Verdict:
        """Ask what time it is before a frame from the future is believed or refused."""
        if time.monotonic() >= self._refuted + REFUTED:
            with suppress(SourceError):
                await self._sample()
        refused = self._intake.refused.count
        verdict = self._intake.hear(raw, confirmed=True)
        if self._intake.refused.count > refused:
            self._refuted = time.monotonic()
        return verdict

    def _shard(self, name: str, streams: Sequence[str]) -> Shard:
        binance = self.settings.binance
        return Shard(
            name,
            self.settings.exchange.stream,
            streams,
            self._hear,
            backoff=self._backoff,
            connects=self._connects,
            rotate_after=binance.rotate_after,
            idle_timeout=binance.idle_timeout,
            calm=self._calm,
        )

    def _closed(self) -> int:
        """The newest decision close of which a candle may have been handed on."""
        intake = self._intake
        # A close may be a little ahead of its own event's time, and history of any other event's.
        handed = (intake.closes.last(*market) or 0 for market in intake.seen)
        return max(intake.now, *handed) // self._step * self._step

    def _calm(self) -> bool:
        return CALM < self.clock.now_ms() % self._step < self._step - CALM

    def _corrupt_row(self, symbol: str, interval: str, error: CorruptRecord) -> None:
        self._intake.refused.note(error, time.monotonic())

    def _gathered(self, share: float) -> None:
        self._report.gathered(share)


def feed_of(info: Any, url: str) -> Feed:
    """What kind of market an exchange is: it says so itself, or it is on this machine, or it is Binance.

    >>> feed_of({}, "https://data-api.binance.vision"), feed_of({"simulated": True}, "http://127.0.0.1:9000")
    ('live', 'simulated')
    """
    if isinstance(info, dict) and "simulated" in info:
        return "simulated" if info["simulated"] else "replay"
    return "replay" if urlsplit(url).hostname in LOCAL else "live"


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first error of a task group as itself: it is what somebody will read."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
