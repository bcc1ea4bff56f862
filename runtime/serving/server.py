"""The server: a thread with an event loop of its own, beside the stream."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from engines.failures import UsageError
from runtime.journal import tell
from runtime.serving.access import Access
from runtime.serving.address import Address
from runtime.serving.channel import Channel
from runtime.serving.doorkeeper import CONNECTIONS, Door
from runtime.serving.routes import Routes, Service
from runtime.serving.state import PERIOD

KEEP_ALIVE = 30.0  # seconds between two requests of a connection
GOODBYE = 0.3  # seconds that requests get to end, after which they are cancelled
CLOSE = 1.5  # seconds until the thread is abandoned: it is a daemon
MAX_LINE = 4096  # bytes of a request line or header


class Server:
    """`with Server(channels, access) as server:` serves until the `with` ends.

    Args:
        channels: Each under its own name.
        access: Where to listen and who may come in.
        self_test: Why the model must not be relied on, or None; /readyz asks.
    """

    def __init__(
        self,
        channels: list[Channel],
        access: Access,
        self_test: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.address: Address = access.address
        self._channels = channels
        self._access = access
        self._self_test = self_test
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._up = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        self._up.wait()
        if isinstance(self._error, OSError):
            address = f"{self.address.host}:{self.address.port}"
            raise UsageError(
                f"--serve {address}: {self._error.strerror or self._error}; "
                "does another program use it? Port 0 takes a free one"
            )
        if self._error is not None:
            raise self._error
        tell("serving", url=self.address.url, protected=self._access.token is not None)
        return self

    def __exit__(self, *error: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(CLOSE)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # whoever starts the server gets it
            self._error = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        listening = listen(self.address)
        self.address = replace(self.address, port=listening.getsockname()[1])
        access = replace(self._access, address=self.address)
        service = Service(self._channels, access, self._self_test)
        routes = Routes(service)
        runner = web.AppRunner(
            routes.application(),
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            shutdown_timeout=GOODBYE,
            handler_cancellation=True,  # who has gone waits for no picture any more
        )
        logging.getLogger("aiohttp.server").addFilter(is_ours)
        await runner.setup()
        assert runner.server is not None
        server = await self._loop.create_server(Door(runner.server), sock=listening)
        telling = self._loop.create_task(self._tell_states(routes, service))
        for screen in routes.screens:
            screen.connect(self._loop)
        self._up.set()
        await self._end.wait()
        for screen in routes.screens:
            screen.disconnect()
        telling.cancel()
        server.close()
        await runner.cleanup()

    async def _tell_states(self, routes: Routes, service: Service) -> None:
        """The state of all channels, made once for all pages; changes of it for the log."""
        while True:
            for channel in service.channels:
                channel.note_condition()
            if service.states.wanted:
                service.states.put(json.dumps(routes.state.to_json()))
            await asyncio.sleep(PERIOD)


def is_ours(record: logging.LogRecord) -> bool:
    """Not of a request that is no HTTP: aiohttp logs it as an error, with a traceback, so whoever
    reaches the port could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def listen(address: Address) -> socket.socket:
    """A listening socket; `::` takes IPv4, too."""
    six = ":" in address.host
    return socket.create_server(
        (address.host, address.port),
        family=socket.AF_INET6 if six else socket.AF_INET,
        backlog=CONNECTIONS,
        dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
    )
