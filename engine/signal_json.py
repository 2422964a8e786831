"""Signals and outcomes as the JSON that is recorded, published and served.

Every number is finite: one that is not is refused by its name, never turned into null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite, nan
from numbers import Real
from typing import Any, Final

import orjson

from engine.records import LayerVote, Outcome, Signal

Publishable = Signal | Outcome | Mapping[str, Any]

OUTSIDE: Final = frozenset({"seq", "published_at", "prev"})
"""Keys that the record adds; canonical bytes are without them."""

PLAIN: Final = frozenset({str, int, bool, type(None)})
"""What cannot be a number that is not finite."""

NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY  # a layer's numpy float is a number like any other

NUMBERS: Final = ("p_up", "expected_move", "novelty", "coverage", "age", "made", "covered")
MODEL: Final = frozenset({*NUMBERS, "version", "skill", "p3", "set", "contributions", "fault"})
"""What a signal tells of a model, and which of it are plain numbers."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def iso(time: int) -> str:
    """A time in ms UTC as ISO-8601, with milliseconds only where there are some.

    >>> iso(1_795_363_500_000), iso(1_795_363_500_250)
    ('2026-11-22T16:05:00Z', '2026-11-22T16:05:00.250Z')
    """
    text = (EPOCH + timedelta(milliseconds=time)).isoformat(
        timespec="milliseconds" if time % 1000 else "seconds"
    )
    return text.removesuffix("+00:00") + "Z"


def published(record: Signal | Outcome) -> dict[str, Any]:
    """The record's fields by their names, and its times as ISO strings; without `seq` and `published_at`.

    Raises `ValueError` naming the field that holds nan or an infinity.
    """
    body = signal_body(record) if isinstance(record, Signal) else outcome_body(record)
    # One sum answers for all numbers of a healthy record; only a sick one is walked to name the field.
    if not isfinite(total(record)):
        refuse(body)
    return body


def canonical(record: Publishable) -> bytes:
    """The bytes that say what a signal or outcome is: sorted keys, without `seq`, `published_at` and `prev`.

    Takes a record, or its published JSON. Raises `ValueError` naming the field that is not finite.

    >>> canonical({"time": 60000, "id": "a", "seq": 7, "published_at": 60123})
    b'{"id":"a","time":60000}'
    """
    if isinstance(record, Signal | Outcome):
        body = published(record)
    else:
        body = {name: value for name, value in record.items() if name not in OUTSIDE}
        refuse(body)
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | NUMPY)


def publish_bytes(record: Publishable, seq: int, published_at: int) -> bytes:
    """The JSON that leaves the engine: published, with its `seq` and when it was committed (ms UTC).

    Takes a record, or its published JSON. Raises `ValueError` naming the field that is not finite.
    """
    if isinstance(record, Signal | Outcome):
        body = published(record)
    else:
        body = dict(record)
        refuse(body)
    return orjson.dumps({**body, "seq": seq, "published_at": published_at}, option=NUMPY)


def signal_body(signal: Signal) -> dict[str, Any]:
    return {
        "id": signal.id,
        "symbol": signal.symbol,
        "interval": signal.interval,
        "time": signal.time,
        "time_iso": iso(signal.time),
        "horizon_end": signal.horizon_end,
        "horizon_end_iso": iso(signal.horizon_end),
        "valid_until": signal.valid_until,
        "valid_until_iso": iso(signal.valid_until),
        "direction": signal.direction,
        "confidence": signal.confidence,
        "score": signal.score,
        "p_up": signal.p_up,
        "p3": dict(zip(("down", "neutral", "up"), signal.p3, strict=True)) if signal.p3 else None,
        "position_size": signal.position_size,
        "entry": signal.entry,
        "stop_loss": signal.stop_loss,
        "take_profit": signal.take_profit,
        "risk_reward": signal.risk_reward,
        "layers": {name: vote_body(vote) for name, vote in signal.layers.items()},
        "degraded": signal.degraded,
        "sources": dict(signal.sources),
        "feed": signal.feed,
        "regime": None if signal.regime is None else dict(signal.regime),
        "models": dict(signal.models),
        "risk": None if signal.risk is None else dict(signal.risk),
    }


def vote_body(vote: LayerVote) -> dict[str, Any]:
    return {
        "score": vote.score,
        "weight_raw": vote.weight_raw,
        "weight": vote.weight,
        "coverage": vote.coverage,
        "reasons": [
            {"component": why.component, "points": why.points, "text": why.text} for why in vote.reasons
        ],
    }


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "symbol": outcome.symbol,
        "time": outcome.time,
        "time_iso": iso(outcome.time),
        "direction": outcome.direction,
        "confidence": outcome.confidence,
        "resolved_at": outcome.resolved_at,
        "resolved_at_iso": iso(outcome.resolved_at),
        "entry": outcome.entry,
        "close": outcome.close,
        "move": outcome.move,
        "hit": outcome.hit,
    }


def total(record: Signal | Outcome) -> float:
    """Some number that is finite if every number of the record is."""
    if isinstance(record, Outcome):
        return record.confidence + record.entry + (record.close or 0.0) + (record.move or 0.0)
    if record.regime or record.risk:
        return nan  # free-form: has to be walked
    numbers = [record.confidence, record.score, record.position_size, record.entry, record.p_up or 0.0]
    numbers += [
        record.stop_loss or 0.0,
        record.take_profit or 0.0,
        record.risk_reward or 0.0,
        *(record.p3 or ()),
    ]
    for vote in record.layers.values():
        numbers += [vote.score, vote.weight_raw, vote.weight, vote.coverage]
        numbers += [reason.points for reason in vote.reasons]
    for body in record.models.values():
        numbers.append(model_total(body))
    return sum(numbers)


def model_total(body: Any) -> float:
    """Some number that is finite if every number of a model's body is; nan where it has to be walked."""
    if not isinstance(body, Mapping) or body.keys() != MODEL:
        return nan
    numbers = [body[name] or 0.0 for name in NUMBERS]
    numbers += (body["p3"] or {}).values()
    numbers += [value for _, value in body["contributions"]]
    return sum(numbers)


def refuse(body: Mapping[str, Any]) -> None:
    """Raise `ValueError` with the path and value of the first number that is not finite."""
    if found := sick(body):
        path, value = found
        raise ValueError(f"{path.removeprefix('.')} was {value}: a published number is finite or null")


def sick(value: object) -> tuple[str, object] | None:
    """Where in nested JSON the first number is that is not finite, and which."""
    if isinstance(value, float | Real):
        return None if isfinite(value) else ("", value)
    if isinstance(value, dict | Mapping):
        for name, inner in value.items():
            if type(inner) not in PLAIN and (found := sick(inner)):
                return f".{name}{found[0]}", found[1]
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            if type(inner) not in PLAIN and (found := sick(inner)):
                return f"[{place}]{found[0]}", found[1]
    return None
