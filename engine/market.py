"""Who moved with whom: the rows of one close, seen together.

Only the rows decide: not the order in which they came, not what happened before the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.records import NOT_YET, Listing, MarketFrame, Row, Universe

Array = NDArray[np.float64]

REFERENCE: Final = "BTC"
"""The asset everyone is measured against; it is itself measured against the mean of the others."""

STILL: Final = 1e-24
"""A variance of log returns below this is no movement: rounding, not a market."""


class Market:
    """The market step: rows of all symbols in, one frame per symbol whose row `speaks` out, in time order.

    The frame of a time is complete when every symbol of the Universe that its rows name has sent its row.
    Rows of one symbol come in time order; beyond that any interleaving gives the same frames, as long as the
    Universe of a frame shares a symbol with that of the frame before. All rows of one step are of one
    interval, which the frames repeat.

    A frame's numbers are measured over the last `window` frames and nothing older, where both returns are
    there; a quarter of those frames must be, else nan:

    - `beta`, `sector_beta`: slope of the symbol's returns on BTC's, and on the mean return of the others in
      its segment; `sector_correlation` goes with the latter.
    - `btc_correlation`, `btc_correlation_before`: in the newer and the older half of the window. The halves
      are disjoint, so that their difference is a change and not an overlap.
    - `spread_z`: how many of its own standard deviations the sum of `own - beta * btc` stands from its mean.
    - `lead`: correlation of the symbol's return with BTC's return of the frame before.

    In BTC's own frame every number measured against BTC is measured against the mean return of all others,
    and `btc_return` is its own. Past returns are compared within today's segments.

    Parameters
    ----------
    window
        Frames looked back on; even, at least 8.
    pending
        Incomplete frames held at most; beyond it the oldest leaves with the rows it has.

    Examples
    --------
    >>> market = Market(window=8)
    >>> listings = tuple(Listing(name + "USDT", name + "USDT", name, "majors") for name in ("BTC", "ETH"))
    >>> market.update(Universe(0, listings))
    []
    >>> market.update(Row("ETHUSDT", 300_000, 0, 0.5, present=True, speaks=True))
    []
    >>> [frame] = market.update(Row("BTCUSDT", 300_000, 0, 0.25, present=True, speaks=False))
    >>> frame.symbol, frame.present, frame.expected, frame.btc_return, frame.sector_return
    ('ETHUSDT', 2, 2, 0.25, 0.25)
    """

    def __init__(self, window: int = 96, pending: int = 4096) -> None:
        if window < 8 or window % 2:
            raise SettingsError(f"market window: must be even and at least 8, was {window}")
        self.window = window
        self.pending = pending
        self.ignored = 0
        """Rows that came twice, or for a frame that had already left."""
        self.forced = 0
        """Frames that left incomplete because too many were pending."""
        self._last = -1
        self._open: dict[int, OpenFrame] = {}
        self._times: list[int] = []
        self._universes: dict[int, Universe] = {}
        self._seated = -1
        self._panel = Panel((), window)

    def update(self, record: Row | Universe) -> list[MarketFrame]:
        """Take in one row or a new universe; answer the frames that it completes."""
        if isinstance(record, Universe):
            if record.time >= self._seated:
                self._universes.setdefault(record.time, record)
            return self._leaving()
        time = record.time
        frame = self._open.get(time)
        if frame is None:
            if time <= self._last:
                self.ignored += 1
                return []
            frame = self._open[time] = OpenFrame(self._seated)
            heappush(self._times, time)
        if record.symbol in frame.rows:
            self.ignored += 1
            return []
        frame.rows[record.symbol] = record
        if record.universe > frame.universe:
            frame.universe = record.universe
        return self._leaving() if time == self._times[0] or len(self._times) > self.pending else []

    def _leaving(self) -> list[MarketFrame]:
        left: list[MarketFrame] = []
        while self._times:
            frame = self._open[self._times[0]]
            universe = self._universes.get(frame.universe)
            if universe is None or not frame.holds(universe):
                if len(self._times) <= self.pending:
                    break
                self.forced += 1
            if universe is not None and universe.time != self._seated:
                self._seat(universe)
            self._last = heappop(self._times)
            del self._open[self._last]
            left += self._measured(frame.rows)
        return left

    def _seat(self, universe: Universe) -> None:
        """Columns for the symbols of `universe`; those who stay keep their returns."""
        listings = tuple(sorted(universe.listings, key=lambda listing: listing.symbol))
        panel = Panel(listings, self.window)
        before = dict(zip(self._panel.symbols, self._panel.returns().T, strict=True))
        returns = np.full((self._panel.filled, len(listings)), NOT_YET)
        for column, symbol in enumerate(panel.symbols):
            returns[:, column] = before.get(symbol, NOT_YET)
        panel.extend(returns)
        self._panel = panel
        self._seated = universe.time
        self._universes = {time: known for time, known in self._universes.items() if time >= universe.time}

    def _measured(self, rows: dict[str, Row]) -> list[MarketFrame]:
        symbols = self._panel.symbols
        here = [rows.get(symbol) for symbol in symbols]
        present = [row for row in here if row and row.present]
        self._panel.push(np.array([row.log_return if row and row.present else NOT_YET for row in here]))
        speaking = [row is not None and row.speaks for row in here]
        if True not in speaking:
            return []
        facts = (self._last, len(present), len(symbols))
        interval, filled = next(iter(rows.values())).interval, self._panel.filled
        columns = self._panel.measure().T.tolist()
        told = compress(zip(symbols, columns, strict=True), speaking)
        return [
            MarketFrame(symbol, *facts, *column, interval=interval, filled=filled) for symbol, column in told
        ]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_panel": self._panel.returns()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._panel = Panel((), self.window)
        if self._seated in self._universes:
            self._seat(self._universes[self._seated])
            self._panel.extend(state["_panel"])


@dataclass(slots=True)
class OpenFrame:
    """The rows that one time has so far, and the newest universe they name."""

    universe: int
    rows: dict[str, Row] = field(default_factory=dict)

    def holds(self, universe: Universe) -> bool:
        """Whether everyone expected has sent a row."""
        rows = self.rows
        return len(rows) >= len(universe.listings) and all(symbol in rows for symbol in universe.symbols)


class Panel:
    """The last `window` log returns of the symbols, beside those of what they are measured against.

    Each push writes one line of three series (own, btc, sector), each as what is there (0/1), value and
    square, into a buffer of twice the window, so that the window is always one block in time order: sums are
    taken over it anew each time, in the same order, and cannot remember anything older.

    Parameters
    ----------
    listings
        The symbols in the order of the rows.
    """

    def __init__(self, listings: tuple[Listing, ...], window: int) -> None:
        self.symbols = tuple(listing.symbol for listing in listings)
        self.window = window
        self.filled = 0
        segments = sorted({listing.segment for listing in listings})
        self._segment = np.array([segments.index(listing.segment) for listing in listings], dtype=np.intp)
        assets = [listing.asset for listing in listings]
        self._reference = assets.index(REFERENCE) if REFERENCE in assets else None
        self._lines = np.zeros((len(listings), 3, 3, 2 * window))  # (symbol, series, kind, frame)
        self._scratch = np.zeros((2, len(listings), window))
        self._end = window
        self._newest = np.full((4, len(listings)), NOT_YET)

    def push(self, returns: Array) -> None:
        """Append one frame of log returns (symbols,), nan where there is none."""
        if self._end == 2 * self.window:
            self._lines[..., : self.window] = self._lines[..., self.window :]
            self._end = self.window
        there = np.isfinite(returns)
        own = np.where(there, returns, 0.0)
        sums = np.bincount(self._segment, own)
        counts = np.bincount(self._segment, there)
        sector = others(sums[self._segment] - own, counts[self._segment] - there)
        market = others(sums.sum() - own, counts.sum() - there)
        btc = self._reference
        self._newest = np.stack((returns, sector, market, returns))
        self._newest[0] = NOT_YET if btc is None else returns[btc]
        seen = self._newest[[3, 0, 1]]
        if btc is not None:
            seen[1, btc] = market[btc]
        known = np.isfinite(seen)
        seen = np.where(known, seen, 0.0)
        line = self._lines[..., self._end]
        line[:, :, 0], line[:, :, 1], line[:, :, 2] = known.T, seen.T, (seen * seen).T
        self._end += 1
        self.filled = min(self.filled + 1, self.window)

    def extend(self, returns: Array) -> None:
        """Append many frames of log returns (frames, symbols)."""
        for line in returns:
            self.push(line)

    def returns(self) -> Array:
        """The log returns (filled, symbols) as they were pushed, nan where there was none."""
        lines = self._lines[:, 0, :, self._end - self.filled : self._end]
        return np.where(lines[:, 0] > 0, lines[:, 1], NOT_YET).T.copy()

    def measure(self) -> Array:
        """Every number of a frame from `btc_return` on, (11, symbols), nan = not known yet."""
        lines = self._lines[..., self._end - self.window : self._end]
        halves = lines.reshape((len(self.symbols), 9, 2, -1)).swapaxes(1, 2)
        older, newer = moments(halves[:, :, :3], halves[:, :, 3:]).transpose(1, 2, 3, 0)
        behind = moments(lines[:, 0, :, 1:], lines[:, 1, :, :-1]).transpose(1, 2, 0)
        whole = older + newer
        sums = np.stack((whole[:, :3], newer[:, :3], older[:, :3], whole[:, 3:], behind))
        least = self.window // 4 * np.array(((1.0,), (0.5,), (0.5,), (1.0,), (1.0,)))
        beta, correlation = slopes(sums, least)
        spread = spread_z(lines[:, 0], lines[:, 1], beta[0], whole, self._scratch)
        told = (beta[0], correlation[1], correlation[2], correlation[3], beta[3], spread, correlation[4])
        return np.concatenate((self._newest, told))


def others(total: NDArray[Any], count: NDArray[Any]) -> Array:
    """The mean of the others from their sum and their number; nan where there is no other."""
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), NOT_YET)
    return mean


def moments(own: Array, other: Array) -> Array:
    """Sums over the frames of every kind of `own` times every kind of `other`.

    Inputs are (symbol, ..., kind, frame) with kinds 0 = there, 1 = value, 2 = square, and zeros where nothing
    is there: of the answer (symbol, ..., kind of own, kind of other), [0, 0] is the number of frames where
    both are, and [1, 0], [0, 1], [2, 0], [0, 2], [1, 1] are the sums of x, y, xx, yy, xy over those.
    One product of one size per symbol, so that a symbol's bits do not depend on how many others there are.
    """
    sums: Array = np.matmul(own, other.swapaxes(-1, -2))
    return sums


def slopes(sums: Array, least: Array) -> tuple[Array, Array]:
    """Slope of own on other, and their correlation, from `moments` (k, 3, 3, symbol), each (k, symbol).

    nan where there are fewer than `least` frames, or no movement.
    """
    number = np.maximum(sums[:, 0, 0], 1.0)
    x, y = sums[:, 1, 0], sums[:, 0, 1]
    covariance = sums[:, 1, 1] - x * y / number
    x_moves = sums[:, 2, 0] - x * x / number
    y_moves = sums[:, 0, 2] - y * y / number
    still = STILL * number
    known = (number >= least) & (y_moves > still)
    beta = np.where(known, covariance, NOT_YET) / np.where(known, y_moves, 1.0)
    known &= x_moves > still
    scale = np.sqrt(np.where(known, x_moves * y_moves, 1.0))
    correlation = np.where(known, covariance, NOT_YET) / scale
    return beta, np.minimum(np.maximum(correlation, -1.0), 1.0)


def spread_z(own: Array, btc: Array, beta: Array, sums: Array, scratch: Array) -> Array:
    """Where the cumulated `own - beta * btc` stands among its values in the window, in standard deviations.

    `own` and `btc` are (symbol, kind, frame), `sums` their `moments`, `scratch` is overwritten; nan where the
    two move as one.
    """
    path, both = scratch
    np.multiply(own[:, 0], btc[:, 0], out=both)
    np.multiply(btc[:, 1], beta[:, None], out=path)
    np.subtract(own[:, 1], path, out=path)
    path *= both
    np.add.accumulate(path, axis=-1, out=path)
    both *= path
    number = np.maximum(sums[0, 0], 1.0)
    mean = both.sum(axis=-1) / number
    variance = np.vecdot(both, path) / number - mean * mean
    apart = variance > 1e-12 * sums[2, 0] / number + STILL
    z: Array = np.where(apart, path[:, -1] - mean, NOT_YET) / np.sqrt(np.where(apart, variance, 1.0))
    return z
