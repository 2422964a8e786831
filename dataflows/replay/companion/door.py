"""A client's socket on the companion: HTTP/1.1 with keep-alive, and answers given in bad manners.

Bytes in, requests out, read by h11; nothing knows a provider. The exchange's own port answers whole bodies at
once, which a dripping answer cannot be.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import h11

from dataflows.replay.answers import Answer, Request
from dataflows.replay.wire import LONGEST_BODY, LONGEST_HEAD, read_request

AT_ONCE: Final = struct.pack("ii", 1, 0)
"""The linger option by which closing a socket resets the connection."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how it is given.

    `delay` seconds before its first byte, infinity = never; `pace` seconds for each byte of the body; `cut` =
    the connection is reset instead; `chunked` = its length is not told.
    """

    answer: Answer
    delay: float = 0.0
    pace: float = 0.0
    cut: bool = False
    chunked: bool = False


class Door(asyncio.Protocol):
    """A client's socket, from its first byte to its last; a client that leaves is not answered any more."""

    def __init__(self, reply: Callable[[Request], Reply], doors: set[Door]) -> None:
        self._reply = reply
        self._doors = doors
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._doors.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._doors.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            self._advance()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._open(Reply(Answer.of({"error": str(error)}, error.error_status_hint)))
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
                assert self._head is not None
                request = read_request(self._head, bytes(self._body))
                self._task = asyncio.get_running_loop().create_task(self._answer(request))
            else:
                if isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return

    async def _answer(self, request: Request) -> None:
        """Answer, and read on where the client keeps the connection; a request we fail at ends it."""
        try:
            await self._give(self._reply(request), head=request.method == "HEAD")
        finally:
            if self._http.our_state is not h11.DONE:
                self._transport.close()
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance()

    async def _give(self, reply: Reply, *, head: bool) -> None:
        if reply.delay == inf:
            await asyncio.Event().wait()
        await asyncio.sleep(reply.delay + reply.answer.delay)
        if reply.cut:
            self.reset()
            return
        self._open(reply)
        body = reply.answer.body
        if not head and reply.pace:
            for place in range(len(body)):
                self._send(h11.Data(body[place : place + 1]))
                await asyncio.sleep(reply.pace)
        elif not head and body:
            self._send(h11.Data(body))
        self._send(h11.EndOfMessage())

    def _open(self, reply: Reply) -> None:
        answer = reply.answer
        length = (
            ("transfer-encoding", "chunked") if reply.chunked else ("content-length", str(len(answer.body)))
        )
        headers = [("content-type", answer.kind), *answer.headers]
        # 304 has no body, and a length would be that of what was not sent.
        if answer.status != 304:
            headers.append(length)
        self._send(h11.Response(status_code=answer.status, headers=headers))

    def _send(self, event: h11.Event) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._http.send(event) or b"")

    def reset(self) -> None:
        """Cut without a word; the client reads a reset connection."""
        found = self._transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._transport.abort()
