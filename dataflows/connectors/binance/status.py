"""How the feed is, in the words of `status:streams` and `status:serving`, and every fault by its name.

A fault is on the list for as long as it lasts and no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dataflows.connectors.binance.intake import REMEMBERED, Intake
from dataflows.connectors.binance.market import Counts
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.stream import Shard
from dataflows.connectors.binance.universe import Absence
from dataflows.connectors.clock import StreamClock
from engine.records import Listing

MOST_NAMED: Final = 20
"""Silent or waiting markets named one by one; the rest is counted."""


def connection(shard: Shard) -> dict[str, Any]:
    """One connection as `status:streams` shows it; times are ms UTC of this machine."""
    return {
        "name": shard.name,
        "state": shard.state,
        "streams": len(shard.streams),
        "since": shard.since_ms,
        "frames": shard.frames,
        "last_frame": shard.last_frame_ms,
        "reconnects": shard.reconnects,
        "rotations": shard.rotations,
    }


def connection_faults(shards: Iterable[Shard]) -> list[str]:
    return [
        f"{shard.name} {shard.state}" + (f": {shard.fault}" if shard.fault else "")
        for shard in shards
        if shard.state in ("connecting", "reconnecting")
    ]


def rest(client: Rest) -> dict[str, Any]:
    """REST as `status:streams` shows it."""
    return {
        "used_weight": client.weights.used,
        "budget": client.weights.budget,
        "state": client.state,
        "retry_at": client.retry_at_ms,
    }


def rest_faults(client: Rest) -> list[str]:
    if client.state != "ok":
        code = 418 if client.state == "banned" else 429
        return [f"rest {code}: {client.state} for another {client.retry_in:.0f} s"]
    return [f"rest {client.fault}"] if client.fault else []


def clock(one: StreamClock) -> dict[str, Any]:
    """The clock as `status:streams` shows it."""
    return {"offset_ms": round(one.offset_ms), "rate": round(one.rate, 4), "skew_ms": round(one.skew_ms)}


def shortened(faults: Sequence[str]) -> list[str]:
    more = len(faults) - MOST_NAMED
    return [*faults[:MOST_NAMED], *([f"and {more} more like the last"] if more > 0 else [])]


def market_faults(intake: Intake, silent: Mapping[tuple[str, str], int], wall: float) -> list[str]:
    """What is wrong with the candles themselves."""
    out = shortened(
        [
            f"{' '.join(filter(None, key))} silent for {since // 1000} s"
            for key, since in sorted(silent.items())
        ]
    )
    held = sorted(intake.closes.waiting().items())
    out += shortened(
        [f"{symbol} {interval}: {n} closes wait for earlier ones" for (symbol, interval), n in held]
    )
    if wall - intake.refused.wall < REMEMBERED:
        out.append(f"corrupt: {intake.refused.last}")
    if intake.now and intake.quiet:
        out.append("no frame of any symbol: stream time is the clock's")
    return out


def symbol(
    listing: Listing, intake: Intake, intervals: Iterable[str], silent: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    """One symbol that is read, as `status:streams` shows it; times are ms UTC of the stream."""
    name = listing.symbol
    intervals = list(intervals)
    counts = intake.closes.counts.get(name, Counts())
    heard = [intake.seen[name, interval] for interval in intervals if (name, interval) in intake.seen]
    return {
        "state": "silent" if (name, "") in silent else "ok",
        "last_event": max(heard, default=0),
        "last_close": {interval: intake.closes.last(name, interval) for interval in intervals},
        "repaired": counts.repaired,
        "gaps": counts.gaps,
        "late": counts.late,
        "duplicates": counts.duplicates,
        "corrections": counts.corrections,
        "suspects": counts.suspects,
    }


def absent(state: Absence, reason: str) -> dict[str, Any]:
    """One configured symbol that is not read, and why."""
    return {"state": state, "reason": reason, "last_event": 0, "last_close": {}, "repaired": 0, "gaps": 0}
