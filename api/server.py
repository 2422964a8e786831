"""The relay as an app and as a program: `python -m api.server`, port 8300.

It starts without Redis, without an engine, and says so in /health until both are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import Depends, FastAPI

from api.board import Board
from api.conversation import LARGEST
from api.document import document
from api.logs import log_config
from api.metrics import Figures
from api.problems import answer_problems
from api.reader import Reader
from api.routes import open_router, router
from api.security import authorised
from api.state import State
from api.stream import Hub
from engine.errors import SettingsError
from engine.settings import Settings, load

VERSION: Final = "0.1.0"
BAD_SETTINGS: Final = 2
PORT_IN_USE: Final = 3
"""Exit codes."""
UNSENT: Final = 30_000
"""ms after which the system drops a connection whose other side takes nothing."""
SEND_BUFFER: Final = 128 * 1024
"""Bytes the system keeps for a client that does not read, before its queue grows."""


def create_app(settings: Settings, *, heartbeat: float = 15.0) -> FastAPI:
    """The relay of one engine; `heartbeat` in seconds between two to every WebSocket client."""
    api = settings.api
    board = Board(settings.all_symbols, api.resume)
    hub = Hub(board, queue=api.queue, resume=api.resume, heartbeat=heartbeat)
    reader = Reader(
        board,
        hub,
        url=settings.redis.url.get_secret_value() if settings.redis.url else None,
        folder=Path(settings.storage.folder),
        prefix=settings.redis.prefix,
        log_length=settings.redis.log_length,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.beat()), asyncio.create_task(reader.run())]
        try:
            yield
        finally:
            await hub.close("the server ends")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(title="Signal engine", version=VERSION, lifespan=lifespan)
    app.state.settings = settings
    app.state.relay = State(settings, board, hub, reader, Figures(board, hub, reader))
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    app.include_router(router, dependencies=[Depends(authorised)] if api.keys else [])
    app.include_router(open_router)
    answer_problems(app)
    return app


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on; raises `OSError` if the address is taken or not ours."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Both are inherited by every connection: one that takes nothing costs little, and not for ever.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT)
        listener.bind(address)
        # Bound is not enough: only who listens learns that somebody else does already.
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def allow_files(clients: int) -> None:
    """Let the process open a file for every client, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def serve(app: FastAPI) -> uvicorn.Server:
    """A server for `app`, to be run on the socket of `listen`."""
    logging_settings = app.state.settings.logging
    config = uvicorn.Config(
        app,
        log_config=log_config(logging_settings.level, logging_settings.json_lines),
        log_level=None,
        ws_max_size=LARGEST,
        ws_per_message_deflate=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; clients are told that we go (1001), a second signal does not wait."""
    server = serve(app)

    async def until_told() -> None:
        loop = asyncio.get_running_loop()
        leaving: list[asyncio.Task[None]] = []

        async def leave() -> None:
            await app.state.relay.hub.close("the server ends")
            server.should_exit = True

        def told(number: int, frame: FrameType | None) -> None:
            server.force_exit = bool(leaving)
            loop.call_soon_threadsafe(lambda: leaving.append(loop.create_task(leave())))

        server.handle_exit = told  # type: ignore[method-assign, assignment]
        await server.serve(sockets=[listener])

    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(until_told())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the relay; 0 after a clean end, 2 for settings, 3 for a port in use."""
    parser = argparse.ArgumentParser(prog="python -m api.server", description="Relay signals over HTTP.")
    default = os.environ.get("SIGNAL_ENGINE_CONFIG", "config.yaml")
    parser.add_argument("--config", default=default, help="the settings file (config.yaml)")
    try:
        settings = load(parser.parse_args(arguments).config)
    except SettingsError as fault:
        sys.stderr.write(f"{fault}\n")
        return BAD_SETTINGS
    api = settings.api
    try:
        listener = listen(api.host, api.port)
    except OSError as fault:
        sys.stderr.write(f"cannot listen on {api.host}:{api.port} (api.host, api.port): {fault.strerror}\n")
        return PORT_IN_USE
    allow_files(api.clients)
    port = listener.getsockname()[1]
    sys.stderr.write(f"API on http://{api.host}:{port} (documentation at /docs)\n")
    run(create_app(settings), listener)
    return 0


if __name__ == "__main__":
    sys.exit(main())
