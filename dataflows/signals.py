"""The dataflow: candles in, honest signals out. Run it with `python -m bytewax.run dataflows.signals`.

One step a line, the record's type behind it. Step names are where recovery finds its state: never rename one.
"""

from __future__ import annotations

import os
from typing import Final

from bytewax import operators as op
from bytewax.dataflow import Dataflow

from dataflows import operators as step
from dataflows.recovery import prepare
from dataflows.world import World, live
from engine.composer import Composer
from engine.decide import Decide
from engine.errors import EngineError
from engine.features import Intervals
from engine.layers import LAYERS
from engine.ledger import Ledger
from engine.market import Market
from engine.memory import Memory, Moments, besides
from engine.models.standing import Standing
from engine.records import Moment, Price, Row, Status, Universe
from engine.settings import Settings, load

SHOWN: Final = (Price, Status)
"""What people look at; no signal depends on it."""

VOICES: Final = ("technical", "correlation", "onchain", "sentiment")
"""The layers that answer every moment by themselves."""


def build(world: World, settings: Settings) -> Dataflow:
    """Wire the engine to a world."""
    decide, models, config_hash = settings.decide, settings.model_intervals, settings.config_hash
    composer = Composer(decide.interval, decide.horizon, settings.thresholds, settings.weights, config_hash)
    readers = settings.readers
    layers = {name: new(decide.interval, readers) for name, new in LAYERS.items()}
    crowds = tuple(step.crowd(interval) for interval in ("", *besides(decide.interval, models)))

    def new_memory() -> Memory:
        news = settings.news.half_life, settings.news.window
        return Memory(decide.interval, settings.read_intervals, decide.minimum, models, readers, news)

    def new_moments() -> Moments:
        return Moments(decide.interval, models)

    def new_boosted() -> Standing:
        return Standing("boosted", settings.models.boosted.interval, decide.minimum)

    def new_decide() -> Decide:
        ledger, source = Ledger(decide.interval, decide.horizon), f"binance.{settings.market}"
        return Decide(composer, ledger, VOICES, source, ("boosted",), readers)

    # fmt: off
    flow = Dataflow("signals")

    # What came in
    arrived = op.input("ingest", flow, world.ingest)                            # (key, Candle | ...)
    shown = step.only("shown", arrived, SHOWN)                                  # (key, Price | Status)
    universe = step.only("universe", arrived, (Universe,))                      # ("market", Universe)
    expected = step.send("expected", universe, crowds)                          # ("market...", Universe)
    told = step.without("told", arrived, (*SHOWN, Universe))                    # (symbol, Candle | ...)

    # What is known of each symbol when its candle closes, and who moved with whom
    features = step.advance("features", told, Intervals)                        # (symbol, Features | ...)
    known = step.advance("assemble", features, new_memory)                      # (symbol, Row | Moment | ...)
    drafts = step.without("drafts", known, (Row,))                              # (symbol, Moment | Candle)
    rows = step.by_interval("rows", step.only("row", known, (Row,)))            # ("market...", Row)
    frames = step.advance("market", op.merge("crowd", expected, rows), Market)  # ("market...", MarketFrame)
    back = step.by_symbol("back", frames)                                       # (symbol, MarketFrame)
    met = op.merge("meet", drafts, back)
    moments = step.advance("moments", met, new_moments)                         # (symbol, Moment | Candle)
    moment = step.only("moment", moments, (Moment,))                            # (symbol, Moment)

    # Models
    asked = world.predict("boosted")
    boosted = step.predict("boosted", moment, new_boosted, asked, world.pending)  # (symbol, Prediction)

    # Layers; the one of the models follows from their predictions, where the signal is made
    technical = step.score("technical", moment, layers["technical"])            # (symbol, LayerScore)
    correlation = step.score("correlation", moment, layers["correlation"])      # (symbol, LayerScore)
    onchain = step.score("onchain", moment, layers["onchain"])                  # (symbol, LayerScore)
    sentiment = step.score("sentiment", moment, layers["sentiment"])            # (symbol, LayerScore)

    # One signal, and what became of earlier ones
    voices = op.merge("voices", technical, correlation, onchain, sentiment)     # (symbol, LayerScore)
    opinions = op.merge("opinions", moments, boosted, voices)                   # (symbol, Moment | ...)
    decided = step.advance("decide", opinions, new_decide)                      # (symbol, Signal | Outcome)
    op.output("record", op.merge("out", decided, shown), world.record)
    # fmt: on
    return flow


def flow() -> Dataflow:
    """What `python -m bytewax.run dataflows.signals` runs: the configured exchange, crash-proof.

    Ends the process with one line where the settings or the data folder cannot be used.
    """
    try:
        settings = load(os.environ.get("SIGNAL_ENGINE_CONFIG", "config.yaml"))
        prepare(settings)
        world = live(settings)
    except EngineError as error:
        raise SystemExit(f"signal-engine: {error}") from None
    return build(world, settings)
