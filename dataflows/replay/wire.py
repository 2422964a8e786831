"""One socket: HTTP/1.1 with keep-alive, and WebSocket on the same port after an upgrade.

Bytes in, requests and frames out, read by h11 and websockets' sans-I/O protocol; nothing knows a market.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

import h11
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from dataflows.replay.answers import Answer, Request
from dataflows.replay.connection import Connection

LONGEST_HEAD = 256 << 10
LONGEST_BODY = 1 << 20
LONGEST_MESSAGE = 64 << 10
CLOSE_WITHIN = 2.0
"""Seconds a client has to answer a close frame."""


class Host(Protocol):
    """Who answers what comes in."""

    async def answer(self, request: Request) -> Answer: ...
    def connect(self, request: Request, port: Port) -> Connection | Answer: ...
    def joined(self, connection: Connection) -> None: ...
    def writable(self) -> None: ...


class Port(asyncio.Protocol):
    """A client's socket, from its first byte to its last."""

    def __init__(self, host: Host, sockets: set[Port]) -> None:
        self._host = host
        self._sockets = sockets
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._ws: ServerProtocol | None = None
        self._session: Connection | None = None
        self._fragments = bytearray()
        self.clear = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sockets.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sockets.discard(self)
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            self._session.lost()

    def pause_writing(self) -> None:
        self.clear = False

    def resume_writing(self) -> None:
        self.clear = True
        self._host.writable()

    def data_received(self, data: bytes) -> None:
        if self._ws is not None:
            self._ws.receive_data(data)
            self._frames(self._ws)
            return
        try:
            self._http.receive_data(data)
            self._advance()
        except h11.RemoteProtocolError as error:
            self._respond(Answer.error(error.error_status_hint, -1000, str(error)))
            self._transport.close()

    def _advance(self) -> None:
        """Read as many requests as there are; one is answered at a time."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._head = event
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > LONGEST_BODY:
                    raise h11.RemoteProtocolError("body too long", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                self._dispatch()
            else:
                if isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return

    def _dispatch(self) -> None:
        assert self._head is not None
        request = read_request(self._head, bytes(self._body))
        if request.headers.get("upgrade", "").lower() == "websocket":
            self._upgrade(request, self._head)
        else:
            self._task = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        """Answer, and read on where the client keeps the connection; a request we fail at ends it."""
        try:
            answer = await self._host.answer(request)
            if not self._transport.is_closing():
                self._respond(answer, head=request.method == "HEAD")
        finally:
            if self._http.our_state is not h11.DONE:
                self._transport.close()
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance()

    def _respond(self, answer: Answer, *, head: bool = False) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("content-type", answer.kind), ("content-length", str(len(answer.body))), *answer.headers]
        for event in (
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(b"" if head else answer.body),
            h11.EndOfMessage(),
        ):
            self._transport.write(self._http.send(event) or b"")

    def _upgrade(self, request: Request, head: h11.Request) -> None:
        session = self._host.connect(request, self)
        if isinstance(session, Answer):
            self._respond(session)
            self._transport.close()
            return
        self._ws = ServerProtocol(max_size=LONGEST_MESSAGE)
        # The target is read already and may be longer than this parser allows.
        lines = [b"GET / HTTP/1.1", *(name + b": " + value for name, value in head.headers)]
        self._ws.receive_data(b"\r\n".join(lines) + b"\r\n\r\n")
        for event in self._ws.events_received():
            if isinstance(event, Handshake):
                self._ws.send_response(self._ws.accept(event))
        self._send(self._ws)
        if self._ws.state is State.OPEN:
            self._session = session
            self._host.joined(session)
            self._ws.receive_data(self._http.trailing_data[0])
            self._frames(self._ws)

    def _frames(self, ws: ServerProtocol) -> None:
        """Hand on what was read; pings are answered by the protocol itself."""
        self._send(ws)
        for frame in ws.events_received():
            if self._session is None or not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.PING:
                self._session.counted()
            elif frame.opcode is Opcode.PONG:
                self._session.pong(bytes(frame.data))
            elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), bytearray()
                    self._session.message(message)
        if self._session is not None and ws.state is not State.OPEN:
            self._session.lost()

    def _send(self, ws: ServerProtocol) -> None:
        for data in ws.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Whole frames, as they are."""
        if self._ws is not None and self._ws.state is State.OPEN:
            self._transport.write(data)

    def ping(self, payload: bytes) -> None:
        if self._ws is not None and self._ws.state is State.OPEN:
            self._ws.send_ping(payload)
            self._send(self._ws)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; a client that does not answer is cut."""
        if self._ws is None:
            self._transport.close()
            return
        try:
            self._ws.send_close(code, reason)
        except InvalidState:
            return
        self._send(self._ws)
        if self._session is not None:
            self._session.lost()
        asyncio.get_running_loop().call_later(CLOSE_WITHIN, self.abort)

    def abort(self) -> None:
        """Cut without a word."""
        self._transport.abort()


def read_request(head: h11.Request, body: bytes) -> Request:
    """The request of an h11 head."""
    target = urlsplit(head.target.decode("ascii"))
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    return Request(head.method.decode(), target.path, query, headers, body)
