"""The process: sockets, signals, and the order in which the service starts and stops.

SIGTERM and SIGINT: ready turns false, and answers ask clients to close their connections. After
``DRAIN_SECONDS`` nothing new is accepted, and when what is in flight is answered, the process ends.
A second one ends it at once. SIGHUP: the bundles are read again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn

from mmsent.errors import InputError
from mmsent.serve.app import create_app
from mmsent.serve.connection import IDLE_SECONDS, Connection
from mmsent.serve.service import Service

DRAIN_SECONDS = 0.5
STOP_SECONDS = 60
"""How long requests in flight may take when the service stops."""
MAX_CONNECTIONS = 1000
"""Where there are more, requests are answered 503."""

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to `serve` and resets no connection at its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that the system has accepted already, then end.

        Those are reset when a listening socket is closed. Between the last one and the close
        nothing else runs, so that hardly any can come.
        """
        pending: list[socket.socket] = []
        for listener in sockets or ():
            with suppress(OSError):  # there is no more; on Windows, accepting is asyncio's own
                while True:
                    pending.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in pending:
            with suppress(OSError):
                await loop.connect_accepted_socket(self._connection, connection)
        await asyncio.sleep(0.01)  # asyncio has others on their way
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError where there can be none at that address."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would take a port that another has
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"can't listen on {host} port {port}: {reason}; try --port") from None
    return listener


def make_server(service: Service) -> Server:
    """Uvicorn's server of a service; without access log, proxies' headers, or its own log."""
    config = uvicorn.Config(
        create_app(service),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Server(config)


def serve(service: Service, listener: socket.socket) -> None:
    """Answer requests until a signal ends it; in the main thread."""
    asyncio.run(_serve(service, make_server(service), listener))


async def _serve(service: Service, server: Server, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def stop(name: str) -> None:
        if service.draining:
            server.force_exit = server.should_exit = True
            return
        logger.info("%s: answering what is in flight, then ending", name)
        service.draining = True
        loop.call_later(DRAIN_SECONDS, setattr, server, "should_exit", True)

    def reload(name: str) -> None:
        task = loop.create_task(service.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    actions: dict[signal.Signals, Callable[[str], None]] = {}
    actions |= {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP"):  # not on Windows
        actions[signal.SIGHUP] = reload
    with _handled(loop, actions):
        address, port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        listener.listen(socket.SOMAXCONN)
        logger.info("listening on http://%s:%d", shown, port)
        await server.serve(sockets=[listener])


@contextmanager
def _handled(
    loop: asyncio.AbstractEventLoop, actions: dict[signal.Signals, Callable[[str], None]]
) -> Iterator[None]:
    """Run an action in the event loop for each signal, until the block ends.

    One that whoever started the process lets it ignore (``nohup``) stays ignored.
    """

    def receive(number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        loop.call_soon_threadsafe(actions[received], received.name)

    before: dict[signal.Signals, Any] = {}
    for number in actions:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set by C code
            before[number] = signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
