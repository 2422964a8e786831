"""What each fault does to an answer: pure, a reply in and a worse one out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import Any, Final

import orjson

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.door import Reply
from dataflows.replay.companion.faults import Fault, is_number

PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Checking your browser</h1><p>This page is not what was asked for.</p></body></html>"
)
PICTURE: Final = b"\x89PNG\r\n\x1a\n" + bytes(64)

OWN_ERRORS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "santiment": {"errors": [{"message": "Internal error, please try again"}]},
        "intotheblock": {"Response": "Error", "Message": "Internal error", "Type": 99, "Data": {}},
        "artemis": {"data": {"symbols": {"btc": {"tvl": "Metric not found.", "fees": "Metric not found."}}}},
        "coingecko": {"status": {"error_code": 500, "error_message": "Internal error"}},
        "alternative_me": {
            "name": "Fear and Greed Index",
            "data": [],
            "metadata": {"error": "Internal error"},
        },
        "cryptoquant": {"status": {"code": 500, "message": "internal_error"}},
        "messari": {"error": "Internal error", "data": None},
    }
)
"""Errors that come with status 200, in the words of those who have words of their own for it."""

OTHER_ERROR: Final = {"error": "internal error", "message": "something went wrong"}

TIMES: Final = re.compile(r"(?i)^(t|d|.*time.*|.*date.*|.*_at|.*begin.*|.*end)$")
"""Keys whose values tell a time."""

NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def spoilt(
    reply: Reply, faults: Iterable[Fault], request: Request, name: str, bare: Callable[[], Answer]
) -> Reply:
    """The reply after all that goes wrong with it; `bare` answers the same request made without a key."""
    for fault in faults:
        if fault.name == "401":
            reply = replace(reply, answer=unauthorized(bare()))
        elif fault.name == "error200":
            reply = replace(reply, answer=Answer.of(OWN_ERRORS.get(name, OTHER_ERROR)))
        elif fault.name == "redirect_loop":
            reply = replace(reply, answer=Answer(302, b"", (("location", request.path),)))
        elif fault.name in MANNERS:
            reply = MANNERS[fault.name](reply, fault)
        else:
            reply = replace(reply, answer=ANSWERS[fault.name](reply.answer, fault))
    return reply


def unauthorized(own: Answer) -> Answer:
    return (
        own if own.status == 401 else Answer.of({"error": "Unauthorized", "message": "invalid API key"}, 401)
    )


def huge(reply: Reply, fault: Fault) -> Reply:
    return replace(reply, answer=Answer(200, long_list(fault.size)), chunked=True)


@lru_cache(maxsize=2)
def long_list(size: int) -> bytes:
    """JSON of at least `size` bytes."""
    return b'{"padding":[' + b"0," * (size // 2) + b"0]}"


def mistyped(answer: Answer, fault: Fault) -> Answer:
    return replace(answer, kind=fault.kind, body=PICTURE if fault.kind.startswith("image/") else answer.body)


def of_json(change: Callable[[Any], Any]) -> Callable[[Answer, Fault], Answer]:
    """A fault of the body's values; what is no JSON stays as it is."""

    def changed(answer: Answer, fault: Fault) -> Answer:
        if not answer.kind.startswith("application/json"):
            return answer
        return replace(answer, body=orjson.dumps(change(orjson.loads(answer.body))))

    return changed


def nulls(body: Any) -> Any:
    """`body` with null for every number, and every text that is one, but for times.

    >>> nulls([{"t": 5, "v": "0.5", "name": "x", "rows": [1.5]}])
    [{'t': 5, 'v': None, 'name': 'x', 'rows': [None]}]
    """
    if isinstance(body, dict):
        return {
            key: value if TIMES.match(key) and not isinstance(value, dict | list) else nulls(value)
            for key, value in body.items()
        }
    if isinstance(body, list):
        return [nulls(value) for value in body]
    return None if is_number(body) or (isinstance(body, str) and NUMBER.fullmatch(body)) else body


def strings(body: Any) -> Any:
    """`body` with every number as text.

    >>> strings({"t": 5, "v": [1.5, True]})
    {'t': '5', 'v': ['1.5', True]}
    """
    if isinstance(body, dict):
        return {key: strings(value) for key, value in body.items()}
    if isinstance(body, list):
        return [strings(value) for value in body]
    return str(body) if is_number(body) else body


def newest_first(body: Any) -> Any:
    """`body` with every list of rows turned about; a row that is itself a list stays as it is.

    >>> newest_first([[1, 5.0], [2, 6.0]])
    [[2, 6.0], [1, 5.0]]
    """
    if isinstance(body, dict):
        return {key: newest_first(value) for key, value in body.items()}
    if isinstance(body, list) and body and all(isinstance(value, dict | list) for value in body):
        return [newest_first(value) for value in reversed(body)]
    return body


MANNERS: Final[Mapping[str, Callable[[Reply, Fault], Reply]]] = MappingProxyType(
    {
        "hang": lambda reply, _: replace(reply, delay=inf),
        "slow": lambda reply, fault: replace(reply, delay=5.0 if fault.by is None else fault.by),
        "drip": lambda reply, fault: replace(reply, pace=1.0 if fault.by is None else fault.by),
        "reset": lambda reply, _: replace(reply, cut=True),
        "huge": huge,
    }
)

ANSWERS: Final[Mapping[str, Callable[[Answer, Fault], Answer]]] = MappingProxyType(
    {
        "html": lambda _, __: Answer(200, PAGE, kind="text/html; charset=utf-8"),
        "truncated": lambda answer, _: replace(answer, body=answer.body[: len(answer.body) // 2]),
        "429": lambda _, __: Answer.of({"error": "Too Many Requests"}, 429),
        "5xx": lambda _, fault: Answer(fault.status, PAGE, kind="text/html; charset=utf-8"),
        "wrong_type": mistyped,
        "nulls": of_json(nulls),
        "strings": of_json(strings),
        "newest_first": of_json(newest_first),
    }
)
