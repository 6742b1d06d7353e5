"""The process: sockets, signals, and the order in which the service starts and stops.

SIGTERM and SIGINT: the service is no longer ready, and answers ask clients to close their
connections. After ``DRAIN_SECONDS`` it accepts nothing new, and when all requests are answered, the
process ends. A second signal ends it immediately, with code 128 + the signal. SIGHUP: changed
bundles are loaded again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
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
"""The time limit for requests in progress when the service stops."""
PORT_FAULTS = (errno.EADDRINUSE, errno.EACCES)
"""The errors that another port avoids; the others are the address's."""

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, without signal handlers, and without connection resets when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that the system has already accepted, then close the sockets.

        Closing a listening socket resets those connections. Nothing else runs between the last one
        and the close, so that hardly any can arrive.
        """
        pending: list[socket.socket] = []
        for listener in sockets or ():
            with suppress(OSError):  # there is none left; on Windows, only asyncio may accept
                while True:
                    pending.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in pending:
            with suppress(OSError):
                await loop.connect_accepted_socket(self._connection, connection)
        await asyncio.sleep(0.01)  # asyncio is still handing over some connections
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError if the address can't be used."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there, it would share a port that another process uses
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        other = "--port" if error.errno in PORT_FAULTS else "--host"
        raise InputError(
            f"can't listen on {host} port {port}: {reason}; use another {other}"
        ) from None
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
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Server(config)


def serve(service: Service, listener: socket.socket) -> None:
    """Answer requests until a signal arrives; call it in the main thread."""
    asyncio.run(_serve(service, make_server(service), listener))


async def _serve(service: Service, server: Server, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def stop(name: str) -> None:
        if service.draining:
            logger.warning("%s: stopping without answering the open requests", name)
            os._exit(128 + signal.Signals[name])  # exit() would wait for the threads
        logger.info("%s: answering the open requests, then stopping", name)
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

    Signals that were ignored when the process started (``nohup``) stay ignored.
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
