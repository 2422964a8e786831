"""One WebSocket from its handshake to its end: who it is, what it wants, what it says.

What a client says wrong is answered and changes nothing; only too much, too fast or no key ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import orjson
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from api.names import NotKnown, symbols_of
from api.security import knows_a_key, refusal
from api.stream import Client, Hub
from engine.settings import Settings

LARGEST: Final = 4096
"""Bytes a client's message may have."""
PER_SECOND: Final = 20
"""Messages a client may send in a second."""
AUTH_WITHIN: Final = 5.0
CLOSE_WITHIN: Final = 10.0
"""Seconds for the first message where a key is needed, and for a slow client to take its close frame."""
REFUSED_CLOSES_WITHIN: Final = 0.01
"""Seconds for the connection of a refused handshake to be gone."""
POLICY: Final = 1008
TOO_BIG: Final = 1009
"""WebSocket close codes."""
SAID: Final = ("subscribe", "unsubscribe", "ping")


class Ended(Exception):
    """The client is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def converse(websocket: WebSocket, hub: Hub, settings: Settings) -> None:
    """Serve one WebSocket until it ends; never raises for what the other side does."""
    address = websocket.client.host if websocket.client else "unknown"
    no = refusal(websocket.headers, settings, len(hub.clients), hub.at(address))
    if no is not None:
        await refuse(websocket, no.status, {"error": no.text})
        return
    client = hub.admit(address)
    try:
        if await wishes(client, websocket, hub):
            await websocket.accept()
            await serve(client, websocket, hub, settings)
    except WebSocketDisconnect:
        pass  # gone in the middle of a handshake or of a frame
    finally:
        hub.leave(client)


async def refuse(websocket: WebSocket, status: int, body: Mapping[str, Any]) -> None:
    """Answer the handshake with an HTTP error instead of a WebSocket."""
    await websocket.send_denial_response(JSONResponse(body, status))
    # uvicorn logs an error for an app that returns while the refused connection is still being closed.
    await asyncio.sleep(REFUSED_CLOSES_WITHIN)


async def wishes(client: Client, websocket: WebSocket, hub: Hub) -> bool:
    """Take the wishes from the address; refuses the handshake and answers False if they cannot be met."""
    asked = websocket.query_params
    try:
        if symbols := asked.get("symbols", "").strip(" ,"):
            client.symbols = set(symbols_of(symbols, hub.board.symbols))
        if "since" in asked:
            client.since = whole(asked["since"])
        client.outcomes = asked.get("outcomes", "").lower() in ("1", "true", "yes")
    except NotKnown as fault:
        await refuse(websocket, 404, {"error": str(fault), "known": fault.known, "near": fault.near})
        return False
    except ValueError as fault:
        await refuse(websocket, 422, {"error": f"since: {fault}"})
        return False
    return True


def whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"must be a sequence number, 0 or more; was {text[:40]!r}")
    return int(text)


async def serve(client: Client, websocket: WebSocket, hub: Hub, settings: Settings) -> None:
    """Talk and listen at once; whichever ends first ends the other."""
    try:
        await prove(websocket, settings)
    except Ended as end:
        client.cut(end.code, end.reason)
    else:
        hub.join(client)
        client.delivery = asyncio.create_task(client.deliver(websocket.send_text))
        hearing = asyncio.create_task(listen(client, websocket, hub))
        both = {client.delivery, hearing}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(both)
    if client.ending is not None and websocket.client_state is WebSocketState.CONNECTED:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN):
                await websocket.close(*client.ending)


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel and wait; raises what a task died of, unless that is the other side being gone."""
    for task in tasks:
        task.cancel()
    for found in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(found, Exception) and not isinstance(found, WebSocketDisconnect):
            raise found


async def prove(websocket: WebSocket, settings: Settings) -> None:
    """Where keys are configured and no header showed one, the first message must."""
    if knows_a_key(settings.api.keys, websocket.headers):
        return
    try:
        async with asyncio.timeout(AUTH_WITHIN):
            said = understand(await hear(websocket))
    except TimeoutError:
        raise Ended(POLICY, f"no key within {AUTH_WITHIN:g} s") from None
    except ValueError:
        said = {}
    key = said.get("key")
    if said.get("action") != "auth" or not isinstance(key, str) or not settings.api.keys.accept(key):
        raise Ended(POLICY, 'the first message must be {"action":"auth","key":"..."} with a valid key')


async def listen(client: Client, websocket: WebSocket, hub: Hub) -> None:
    """Answer what the client says until it goes or has to go."""
    second, count = monotonic(), 0
    try:
        while True:
            text = await hear(websocket)
            if monotonic() - second >= 1:
                second, count = monotonic(), 0
            count += 1
            if count > PER_SECOND:
                raise Ended(POLICY, f"more than {PER_SECOND} messages in a second")
            try:
                answer(client, understand(text), hub)
            except (ValueError, NotKnown) as fault:
                client.say({"type": "error", "message": str(fault)})
    except Ended as end:
        client.cut(end.code, end.reason)


async def hear(websocket: WebSocket) -> bytes:
    """The next message. Raises `Ended` if it is too large, `WebSocketDisconnect` when there is no more."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    said = message.get("bytes") or (message.get("text") or "").encode()
    if len(said) > LARGEST:
        raise Ended(TOO_BIG, f"a message may have {LARGEST} bytes")
    return bytes(said)


def understand(text: bytes) -> Mapping[str, Any]:
    """A client's message. Raises `ValueError` saying what it should have been."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise ValueError(f"not JSON: {fault}") from fault
    if not isinstance(said, dict) or not isinstance(said.get("action"), str):
        raise ValueError('must be an object with an "action"')
    return said


def answer(client: Client, said: Mapping[str, Any], hub: Hub) -> None:
    """Do what a client asks and say so. Raises `ValueError` or `NotKnown`, having done nothing."""
    action = said["action"]
    if action == "ping":
        client.say({"type": "pong", "seq": hub.board.head})
    elif action == "auth":
        client.say({"type": "authenticated"})
    elif action in ("subscribe", "unsubscribe"):
        change(client, said, hub, adds=action == "subscribe")
    else:
        raise ValueError(f"no action {action[:40]!r}; there are {', '.join(SAID)}")


def change(client: Client, said: Mapping[str, Any], hub: Hub, *, adds: bool) -> None:
    """Add or remove symbols, and outcomes where they are named; a new symbol comes with its state."""
    wanted, outcomes = said.get("symbols", []), said.get("outcomes", False)
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise ValueError('"symbols" must be a list of names')
    if not isinstance(outcomes, bool):
        raise ValueError('"outcomes" must be true or false')
    if not wanted and not outcomes:
        raise ValueError('say which: "symbols": [...], or "outcomes": true')
    named = symbols_of(wanted, hub.board.symbols)
    before = set(hub.board.symbols) if client.symbols is None else client.symbols
    if outcomes:
        client.outcomes = adds
    if named and not (adds and client.symbols is None):
        client.symbols = before | named if adds else before - named
    now = None if client.symbols is None else sorted(client.symbols)
    client.say({"type": "subscribed", "symbols": now, "outcomes": client.outcomes})
    if client.welcomed and adds and (new := named - before):
        hub.snapshot(client, new)
