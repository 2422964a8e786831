"""The endpoints: each a look at the board, answered from memory; `router` is for key holders.

Signals leave as they were published, byte for byte; only what judges them is built here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, WebSocket

from api import models
from api.board import Board
from api.conversation import converse
from api.health import judge
from api.history import from_log, from_record
from api.names import symbol_of, symbols_of
from api.providers import providers
from api.security import knows_a_key
from api.state import State
from api.training import training

Answers = dict[int | str, dict[str, Any]]
REFUSED: Final[Answers] = {
    401: {"model": models.Problem, "description": "No valid API key."},
    422: {"model": models.Problem, "description": "A parameter that cannot be used."},
}
UNKNOWN: Final[Answers] = {404: {"model": models.UnknownSymbol, "description": "Nobody knows this symbol."}}
NOT_READ: Final[Answers] = {503: {"model": models.Problem, "description": "Redis was never reached."}}

router = APIRouter(responses=REFUSED)
open_router = APIRouter()


def state_of(request: Request) -> State:
    found: State = request.app.state.relay
    return found


Relay = Annotated[State, Depends(state_of)]
Limit = Annotated[int, Query(ge=1, le=1000, description="signals on a page")]
Before = Annotated[int | None, Query(ge=1, lt=1 << 53, description="only signals numbered below this")]


@router.get("/signals", response_model=models.Signals, responses={**UNKNOWN, **NOT_READ})
async def signals(
    relay: Relay,
    symbols: Annotated[str, Query(description="names with commas; all if empty", examples=["BTCUSDT"])] = "",
    direction: Annotated[models.Direction | None, Query()] = None,
) -> Response:
    """The newest signal of every tracked symbol, in alphabetical order."""
    board = loaded(relay)
    wanted = symbols_of(symbols, board.symbols) or board.latest.keys()
    bodies = [
        signal.body
        for name, signal in sorted(board.latest.items())
        if name in wanted and direction in (None, signal.direction)
    ]
    return joined({"seq": board.head, "redis": board.redis}, bodies)


@router.get("/signals/{symbol}", response_model=models.Signal, responses={**UNKNOWN, **NOT_READ})
async def signal(relay: Relay, symbol: str) -> Response:
    """The newest signal of one symbol; former names and any case are understood."""
    board = loaded(relay)
    name = symbol_of(symbol, board.symbols)
    if name not in board.latest:
        reasons = judge(relay.view).reasons
        raise HTTPException(404, f"no signal of {name} yet{f': {reasons[0]}' if reasons else ''}")
    return body(board.latest[name].body)


@router.get("/signals/{symbol}/history", response_model=models.History, responses={**UNKNOWN, **NOT_READ})
async def history(relay: Relay, symbol: str, limit: Limit = 100, before_seq: Before = None) -> Response:
    """Older signals of one symbol, newest first; `truncated` where only Redis could be asked."""
    board = loaded(relay)
    name = symbol_of(symbol, board.symbols)
    page = await asyncio.to_thread(from_record, Path(relay.settings.storage.folder), name, limit, before_seq)
    page = page or from_log(board, name, limit, before_seq)
    head = {
        "symbol": name,
        "source": page.source,
        "truncated": page.truncated,
        "next_before_seq": page.before,
    }
    return joined(head, page.bodies)


@router.get("/models/status", responses=NOT_READ)
async def models_status(relay: Relay) -> models.ModelsStatus:
    """What training is doing, and of each model the version, since when it speaks, and how it was judged."""
    if relay.board.redis != "up" or relay.board.statuses is None:
        raise HTTPException(503, f"Redis unreachable: {relay.board.redis_fault or 'not read yet'}")
    return training(relay.board.models)


@router.get("/providers/status")
async def providers_status(relay: Relay) -> models.Providers:
    """Every source of data, when it last answered, and why not."""
    return providers(relay.view)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(relay: Relay) -> Response:
    """The relay's figures for Prometheus."""
    return Response(relay.figures.text(), media_type="text/plain; version=0.0.4")


@open_router.get("/health", responses={503: {"model": models.Health, "description": "Not healthy, and why."}})
async def health(relay: Relay, request: Request, response: Response) -> models.Health:
    """Healthy (200) only while fresh data comes in and signals come out; else 503 with every reason.

    Without a valid key, where keys are configured, the verdict is given and the details are not.
    """
    verdict = judge(relay.view)
    response.status_code = 200 if verdict.status == "healthy" else 503
    if knows_a_key(relay.settings.api.keys, request.headers):
        return verdict
    return models.Health(
        status=verdict.status,
        reasons=["details need an API key"] if verdict.reasons else [],
        notes=[],
        stream_time=None,
        stream_rate=None,
        feed=None,
        phase=None,
        progress=None,
        interval=None,
        symbols={},
        redis=models.RedisHealth(state=verdict.redis.state, kind="unknown"),
        version=None,
    )


@open_router.websocket("/ws/signals")
async def ws_signals(websocket: WebSocket) -> None:
    relay: State = websocket.app.state.relay
    await converse(websocket, relay.hub, relay.settings)


def loaded(relay: State) -> Board:
    """The board, once it holds anything. Raises 503 before."""
    if not relay.board.loaded:
        raise HTTPException(503, f"Redis unreachable: {relay.board.redis_fault or 'not read yet'}")
    return relay.board


def body(raw: bytes) -> Response:
    return Response(raw, media_type="application/json")


def joined(head: dict[str, Any], bodies: list[bytes]) -> Response:
    """`head` with the published bodies as its `signals`."""
    return body(orjson.dumps(head)[:-1] + b',"signals":[' + b",".join(bodies) + b"]}")
