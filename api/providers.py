"""How the sources of data are: the exchange from its streams, every other as it says itself.

What nothing is known of is down, with that as its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from api.facts import items, number, numbers, part, word
from api.health import View, connection_faults, heart, open_connections, spoken, until
from api.models import Exchange, Provider, Providers

State = Literal["ok", "stale", "down", "disabled"]
KNOWN: Final[tuple[State, ...]] = get_args(State)


def providers(view: View) -> Providers:
    """Every source the engine has, the exchange first."""
    said = (view.board.statuses.providers if view.board.statuses else None) or {}
    blocks = said.get("providers", said)
    others = [
        provider(str(name), block)
        for name, block in (blocks.items() if isinstance(blocks, Mapping) else ())
        if isinstance(block, Mapping)
    ]
    return Providers(providers=[exchange(view), *others])


def exchange(view: View) -> Exchange:
    """Binance, REST and streams together."""
    rest = part(view.streams, "rest")
    weights = numbers(rest)
    connections = [c for c in items(view.streams, "connections") if isinstance(c, Mapping)]
    frames = [int(c["last_frame"]) for c in connections if isinstance(c.get("last_frame"), int | float)]
    reason = down(view)
    stale = None if reason else behind(view, rest)
    return Exchange(
        name="binance",
        state="down" if reason else "stale" if stale else "ok",
        reason=reason or stale,
        last_success=max(frames, default=None),
        feed=word(view.serving, "feed"),
        connections=len(open_connections(view.streams)),
        used_weight=weights.get("used_weight"),
        budget=weights.get("budget"),
    )


def down(view: View) -> str | None:
    """Why nothing can come from the exchange, or why that cannot be known."""
    statuses = view.board.statuses
    if view.board.redis != "up" or statuses is None:
        return f"not known: Redis unreachable: {view.board.redis_fault or 'not read yet'}"
    return next(iter((*heart(statuses.heartbeat, view.now), *connection_faults(view))), None)


def behind(view: View, rest: Mapping[str, Any]) -> str | None:
    """Why what comes is not fresh."""
    newest = max(numbers(view.serving.get("last_close")).values(), default=None)
    if newest is None:
        return f"no {view.interval} close has come yet"
    if view.old(newest):
        return f"the newest {view.interval} close is {spoken(view.age(newest))} old"
    if rest.get("state") == "limited":
        return f"REST limited by the exchange{until(rest)}"
    return next((f"fault: {fault}" for fault in items(view.streams, "faults")), None)


def provider(name: str, block: Mapping[str, Any]) -> Provider:
    """One provider as it says itself; a state we do not know is not ok."""
    state = block.get("state")
    known: State = state if state in KNOWN else "down"
    reason = block.get("reason") or (None if known == "ok" else f"says {state!r}")
    own = {
        key: value for key, value in block.items() if key not in ("name", "state", "reason", "last_success")
    }
    success = number(block, "last_success")
    last = None if success is None else int(success)
    return Provider(name=name, state=known, reason=reason, last_success=last, **own)
