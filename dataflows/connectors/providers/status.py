"""How a provider is, in the words of `/providers/status`: JSON, and never a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from dataflows.connectors.http.polite import Polite

State = Literal["ok", "stale", "down", "disabled"]

STALE_AFTER: Final = 3.0
"""Polls without an answer after which what is known is called stale."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error as it is shown; `at` is ms UTC of this machine."""

    kind: str
    message: str
    at: int

    def told(self) -> dict[str, Any]:
        return {"class": self.kind, "message": self.message, "at": self.at}


@dataclass(slots=True)
class Standing:
    """What became of the polls of one provider; ms: `heard_at` of the stream, the others of this machine."""

    every: float
    succeeded_at: int | None = None
    heard_at: int = 0
    trouble: Trouble | None = None
    known: int = 0
    open: int = 0
    absent: int = 0
    polls: int = 0

    def polled(self, known: int, unanswered: int, absent: int, now: int, *, troubled: bool) -> None:
        """A poll is over: so many questions there are, without an answer yet, and not served."""
        self.polls += 1
        self.known, self.open, self.absent = known, unanswered, absent
        if not unanswered and self.succeeded_at is not None:
            # What was not asked has an answer that is still fresh.
            self.heard_at = now
            self.trouble = self.trouble if troubled else None

    def state(self, breaker: str, now: int) -> tuple[State, str | None]:
        """The state and its reason; `now` is stream time."""
        fault = self.trouble.message if self.trouble else "no answer yet"
        if self.polls and not self.known and not self.trouble:
            return "disabled", "it covers none of the configured symbols"
        if self.succeeded_at is None or breaker != "closed":
            return "down", fault
        if now - self.heard_at > 1000 * STALE_AFTER * self.every:
            return "stale", f"no answer for {(now - self.heard_at) / 3_600_000:.1f} h: {fault}"
        if self.open:
            return "stale", f"{self.open} of {self.known} questions have no answer: {fault}"
        return "ok", f"{self.absent} of {self.known} questions are not served" if self.absent else None


def body(
    standing: Standing, polite: Polite, metrics: Mapping[str, Any], now: int, next_at: int | None, unix: float
) -> dict[str, Any]:
    """The status of a provider that is asked; `now` is stream time, `unix` seconds of this machine."""
    state, reason = standing.state(polite.breaker.state, now)
    wait = polite.breaker.wait
    return {
        "state": state,
        "reason": reason,
        "last_success": standing.succeeded_at,
        "next": next_at,
        "error": standing.trouble.told() if standing.trouble else None,
        "quota": {
            "minute": polite.pace.left,
            "day": polite.budget.left_in_day,
            "month": polite.budget.left_in_month,
            "told": polite.remaining,
        },
        "latency_ms": None if polite.latency is None else round(polite.latency * 1000, 1),
        "breaker": polite.breaker.state,
        "retry_at": int((unix + wait) * 1000) if wait > 0 else None,
        "metrics": metrics,
    }


def disabled(reason: str) -> dict[str, Any]:
    """The status of a provider that is not asked."""
    return {
        "state": "disabled",
        "reason": reason,
        "last_success": None,
        "next": None,
        "error": None,
        "quota": dict.fromkeys(("minute", "day", "month", "told")),
        "latency_ms": None,
        "breaker": "closed",
        "retry_at": None,
        "metrics": {},
    }
